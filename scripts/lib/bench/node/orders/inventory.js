// What is on the shelves: reserve, commit, release, each in one transaction with its ledger.
"use strict";

const { refuse, start, transaction } = require("./service");

const schema = `
  CREATE TABLE IF NOT EXISTS stock (sku text PRIMARY KEY, on_hand bigint NOT NULL CHECK (on_hand >= 0),
    reserved bigint NOT NULL DEFAULT 0, sold bigint NOT NULL DEFAULT 0);
  CREATE TABLE IF NOT EXISTS reservations (order_id uuid PRIMARY KEY, state text NOT NULL, lines jsonb NOT NULL);
  CREATE TABLE IF NOT EXISTS stock_changes (change_id bigserial PRIMARY KEY, order_id uuid NOT NULL, sku text NOT NULL,
    kind text NOT NULL, quantity bigint NOT NULL)`;

const note = (client, orderId, kind, lines) =>
  client.query(
    `INSERT INTO stock_changes (order_id, sku, kind, quantity)
     SELECT $1, l.sku, $2, l.quantity FROM jsonb_to_recordset($3) AS l(sku text, quantity bigint)`,
    [orderId, kind, JSON.stringify(lines)],
  );

// Moves the units of `lines` by `columns`, SKU by SKU in order, so that orders can't wait for each other in a circle.
async function move(client, lines, columns) {
  for (const line of [...lines].sort((one, other) => (one.sku < other.sku ? -1 : 1))) {
    const { rowCount } = await client.query(`UPDATE stock SET ${columns} WHERE sku = $1 AND on_hand >= $3`, [
      line.sku,
      line.quantity,
      columns.startsWith("on_hand = on_hand -") ? line.quantity : 0,
    ]);
    if (rowCount === 0) throw refuse(409, "INSUFFICIENT_STOCK", `too few of ${line.sku}`);
  }
}

start("inventory", schema, (app, pool) => {
  app.post("/reservations", async (request, response) => {
    const { orderId, lines } = request.body;
    await transaction(pool, async (client) => {
      await client.query("INSERT INTO reservations VALUES ($1, 'reserved', $2)", [orderId, JSON.stringify(lines)]);
      await move(client, lines, "on_hand = on_hand - $2, reserved = reserved + $2");
      await note(client, orderId, "reserved", lines);
    });
    response.json({});
  });

  const end = (from, to, columns) => async (request, response) => {
    const orderId = request.params.order_id;
    await transaction(pool, async (client) => {
      const { rows } = await client.query(
        "UPDATE reservations SET state = $3 WHERE order_id = $1 AND state = $2 RETURNING lines",
        [orderId, from, to],
      );
      if (rows.length === 0) return;
      await move(client, rows[0].lines, columns);
      await note(client, orderId, to, rows[0].lines);
    });
    response.json({});
  };
  app.post("/reservations/:order_id/commit", end("reserved", "sold", "reserved = reserved - $2, sold = sold + $2"));
  app.post("/reservations/:order_id/release", end("reserved", "released", "reserved = reserved - $2, on_hand = on_hand + $2"));
});
