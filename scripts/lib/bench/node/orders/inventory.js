// What is on the shelves. Levels, ledger and reservations change together or not at all.
"use strict";

const { Refusal, prepared, start, transaction } = require("./service");

const schema = `
  CREATE TABLE IF NOT EXISTS stock (sku text PRIMARY KEY, on_hand bigint NOT NULL CHECK (on_hand >= 0),
    reserved bigint NOT NULL DEFAULT 0 CHECK (reserved >= 0), sold bigint NOT NULL DEFAULT 0 CHECK (sold >= 0));
  CREATE TABLE IF NOT EXISTS reservations (order_id uuid PRIMARY KEY, state text NOT NULL, lines jsonb NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now());
  CREATE TABLE IF NOT EXISTS stock_changes (change_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sku text NOT NULL, kind text NOT NULL, quantity bigint NOT NULL, order_id uuid NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now())`;

const open = prepared("open", "INSERT INTO reservations (order_id, state, lines) VALUES ($1, 'reserved', $2)");
const end = prepared(
  "end",
  "UPDATE reservations SET state = $2 WHERE order_id = $1 AND state = 'reserved' RETURNING lines",
);
const note = prepared("note", "INSERT INTO stock_changes (order_id, kind, sku, quantity) VALUES ($1, $2, $3, $4)");
const moves = {
  reserved: prepared(
    "reserve",
    "UPDATE stock SET on_hand = on_hand - $2, reserved = reserved + $2 WHERE sku = $1 AND on_hand >= $2",
  ),
  sold: prepared("sell", "UPDATE stock SET reserved = reserved - $2, sold = sold + $2 WHERE sku = $1"),
  released: prepared("release", "UPDATE stock SET reserved = reserved - $2, on_hand = on_hand + $2 WHERE sku = $1"),
};

// Locks SKUs in one order, so that orders wait for each other and never in a circle.
async function move(client, orderId, kind, lines) {
  const bySku = [...lines].sort((one, other) => (one.sku < other.sku ? -1 : 1));
  for (const { sku, quantity } of bySku) {
    await client.query(note(orderId, kind, sku, quantity));
    const { rowCount } = await client.query(moves[kind](sku, quantity));
    if (rowCount === 0) throw new Refusal(409, "INSUFFICIENT_STOCK", `too few of ${sku}`);
  }
}

start("inventory", schema, (app, pool) => {
  app.post("/reservations", async (request, response) => {
    const { orderId, lines } = request.body;
    await transaction(pool, async (client) => {
      await client.query(open(orderId, JSON.stringify(lines)));
      await move(client, orderId, "reserved", lines);
    });
    response.json({});
  });

  const ending = (kind) => async (request, response) => {
    const { order_id: orderId } = request.params;
    await transaction(pool, async (client) => {
      const { rows } = await client.query(end(orderId, kind));
      if (rows.length > 0) await move(client, orderId, kind, rows[0].lines);
    });
    response.json({});
  };
  app.post("/reservations/:order_id/commit", ending("sold"));
  app.post("/reservations/:order_id/release", ending("released"));
});
