// Who may buy.
"use strict";

const { Refusal, prepared, start } = require("./service");

const schema = "CREATE TABLE IF NOT EXISTS users (user_id text PRIMARY KEY, is_active boolean NOT NULL DEFAULT true)";
const userById = prepared("user_by_id", "SELECT user_id, is_active FROM users WHERE user_id = $1");

start("users", schema, (app, pool) => {
  app.get("/users/:user_id", async (request, response) => {
    const { rows } = await pool.query(userById(request.params.user_id));
    if (rows.length === 0) throw new Refusal(404, "USER_NOT_FOUND", "no such user");
    if (!rows[0].is_active) throw new Refusal(409, "USER_DEACTIVATED", "the account can't buy");
    response.json({ userId: rows[0].user_id });
  });
});
