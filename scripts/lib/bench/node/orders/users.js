// Who may buy.
"use strict";

const { refuse, start } = require("./service");

const schema = `CREATE TABLE IF NOT EXISTS users (user_id text PRIMARY KEY, active boolean NOT NULL DEFAULT true)`;

start("users", schema, (app, pool) => {
  app.get("/users/:user_id", async (request, response) => {
    const { rows } = await pool.query({
      name: "user_by_id",
      text: "SELECT user_id, active FROM users WHERE user_id = $1",
      values: [request.params.user_id],
    });
    if (rows.length === 0) throw refuse(404, "USER_NOT_FOUND", "no such user");
    response.json(rows[0]);
  });
});
