// Places orders: ask who and what, write the order, reserve, hold the money, confirm, answer; then sell, take, ship.
"use strict";

const { randomUUID } = require("node:crypto");
const jwt = require("jsonwebtoken");
const { call, refuse, start, transaction } = require("./service");

const schema = `
  CREATE TABLE IF NOT EXISTS orders (order_id uuid PRIMARY KEY, user_id text NOT NULL, state text NOT NULL,
    total_units bigint NOT NULL, total_nanos int NOT NULL, shipped boolean NOT NULL DEFAULT false,
    create_time timestamptz NOT NULL DEFAULT now());
  CREATE TABLE IF NOT EXISTS order_lines (order_id uuid NOT NULL REFERENCES orders, position int NOT NULL, product_id uuid NOT NULL,
    sku text NOT NULL, name text NOT NULL, price_units bigint NOT NULL, price_nanos int NOT NULL, quantity int NOT NULL,
    PRIMARY KEY (order_id, position))`;
const { USERS_URL, CATALOG_URL, INVENTORY_URL, PAYMENTS_URL, SHIPPING_URL } = process.env;
const key = Buffer.from(process.env.JWT_PUBLIC_KEY, "base64");

function total(lines) {
  let nanos = 0n;
  for (const line of lines) nanos += (BigInt(line.price_units) * 1000000000n + BigInt(line.price_nanos)) * BigInt(line.quantity);
  return { units: String(nanos / 1000000000n), nanos: Number(nanos % 1000000000n) };
}

start(
  "orders",
  schema,
  (app, pool, publish) => {
    const setState = (orderId, state) => pool.query("UPDATE orders SET state = $2 WHERE order_id = $1", [orderId, state]);

    app.post("/v1/orders", async (request, response) => {
      const token = (request.headers.authorization || "").replace("Bearer ", "");
      const userId = jwt.verify(token, key, { algorithms: ["ES256"], issuer: "weft", audience: "weft" }).sub;
      const { lines: wanted, paymentMethod, destination } = request.body;
      const [, { products }] = await Promise.all([
        call("GET", USERS_URL, `/users/${userId}`),
        call("POST", CATALOG_URL, "/products:batchGet", { productIds: wanted.map((line) => line.productId) }),
      ]);
      const byId = new Map(products.map((product) => [product.product_id, product]));
      const lines = wanted.map((line) => ({ ...byId.get(line.productId), quantity: line.quantity }));
      const sum = total(lines);
      const orderId = randomUUID();
      await transaction(pool, async (client) => {
        await client.query("INSERT INTO orders VALUES ($1, $2, 'pending', $3, $4)", [orderId, userId, sum.units, sum.nanos]);
        for (const [position, line] of lines.entries())
          await client.query("INSERT INTO order_lines VALUES ($1, $2, $3, $4, $5, $6, $7, $8)", [
            orderId, position, line.product_id, line.sku, line.name, line.price_units, line.price_nanos, line.quantity,
          ]);
      });
      await publish("order.placed", { orderId, userId });
      const reserved = [];
      try {
        await call("POST", INVENTORY_URL, "/reservations", {
          orderId,
          lines: lines.map(({ sku, quantity }) => ({ sku, quantity })),
        });
        reserved.push(["POST", INVENTORY_URL, `/reservations/${orderId}/release`]);
        await call("POST", PAYMENTS_URL, "/payments", { orderId, userId, ...sum, paymentMethod });
      } catch (error) {
        for (const undo of reserved) await call(...undo);
        await setState(orderId, "cancelled");
        await publish("order.cancelled", { orderId, userId });
        throw error.reason ? error : refuse(503, "UNAVAILABLE", "try again");
      }
      await setState(orderId, "confirmed");
      await publish("order.confirmed", { orderId, userId });
      response.json({ order: { orderId, userId, state: "STATE_CONFIRMED", total: { currencyCode: "EUR", ...sum } } });
      // The shopper has an answer; what remains happens behind it, as it does on the other side.
      await call("POST", INVENTORY_URL, `/reservations/${orderId}/commit`);
      await call("POST", PAYMENTS_URL, `/payments/${orderId}/capture`);
      await call("POST", SHIPPING_URL, "/shipments", { orderId, destination });
      await setState(orderId, "done");
    });
  },
  {
    "shipment.created": (pool, event) => pool.query("UPDATE orders SET shipped = true WHERE order_id = $1", [event.orderId]),
  },
);
