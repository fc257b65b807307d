// Places an order: asks who, what and where to, writes it down, has goods kept and money held, confirms, answers; then
// has the goods sold, the money taken, and the parcel sent.
"use strict";

const { createPublicKey, randomUUID } = require("node:crypto");
const fs = require("node:fs");
const jwt = require("jsonwebtoken");
const { Refusal, call, prepared, start, transaction } = require("./service");

const schema = `
  CREATE TABLE IF NOT EXISTS orders (order_id uuid PRIMARY KEY, user_id text NOT NULL, state text NOT NULL,
    total_units bigint NOT NULL, total_nanos int NOT NULL, destination jsonb NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(), update_time timestamptz NOT NULL DEFAULT now());
  CREATE INDEX IF NOT EXISTS orders_by_user ON orders (user_id, create_time);
  CREATE TABLE IF NOT EXISTS order_lines (order_id uuid NOT NULL REFERENCES orders, position int NOT NULL,
    product_id uuid NOT NULL, sku text NOT NULL, name text NOT NULL, price_units bigint NOT NULL,
    price_nanos int NOT NULL, quantity int NOT NULL, PRIMARY KEY (order_id, position))`;
const insertOrder = prepared(
  "insert_order",
  `INSERT INTO orders (order_id, user_id, state, total_units, total_nanos, destination)
   VALUES ($1, $2, 'pending', $3, $4, $5)`,
);
const insertLine = prepared("insert_line", "INSERT INTO order_lines VALUES ($1, $2, $3, $4, $5, $6, $7, $8)");
const save = prepared("save", "UPDATE orders SET state = $2, update_time = now() WHERE order_id = $1");

const { USERS_URL, CATALOG_URL, INVENTORY_URL, PAYMENTS_URL, SHIPPING_URL } = process.env;
const [jwk] = JSON.parse(fs.readFileSync(process.env.JWKS_FILE)).keys;
const key = createPublicKey({ key: jwk, format: "jwk" });
const claims = { algorithms: ["ES256"], issuer: "weft", audience: "weft" };
const NANOS = 1_000_000_000n;
const NANOS_PER_CENT = 10_000_000n;

function authenticate(request, response, next) {
  const [scheme, token] = (request.headers.authorization || "").split(" ");
  try {
    if (scheme !== "Bearer") throw new Error("no token");
    request.userId = jwt.verify(token, key, claims).sub;
  } catch {
    throw new Refusal(401, "UNAUTHENTICATED", "a valid token is needed");
  }
  next();
}

// Returns what is bought at today's prices.
function priced(wanted, products) {
  const byId = new Map(products.map((product) => [product.productId, product]));
  return wanted.map(({ productId, quantity }) => {
    const product = byId.get(productId);
    if (product === undefined) throw new Refusal(404, "PRODUCT_NOT_FOUND", `no product ${productId}`);
    return { ...product, quantity };
  });
}

// Returns what is paid: the lines and the sending.
function total(lines, rateCents) {
  let nanos = BigInt(rateCents) * NANOS_PER_CENT;
  for (const { price, quantity } of lines) {
    nanos += (BigInt(price.units) * NANOS + BigInt(price.nanos)) * BigInt(quantity);
  }
  return { units: String(nanos / NANOS), nanos: Number(nanos % NANOS) };
}

function routes(app, pool, publish) {
  const setState = (order, state) => pool.query(save(order.orderId, state));

  async function begin(userId, { lines: wanted, destination }) {
    const units = wanted.reduce((sum, line) => sum + line.quantity, 0);
    const productIds = wanted.map((line) => line.productId);
    const [{ products }, , { rateCents }] = await Promise.all([
      call("POST", `${CATALOG_URL}/products/batch`, { productIds }),
      call("GET", `${USERS_URL}/users/${userId}`),
      call("POST", `${SHIPPING_URL}/quotes`, { countryCode: destination.countryCode, units }),
    ]);
    const lines = priced(wanted, products);
    const order = { orderId: randomUUID(), userId, lines, total: total(lines, rateCents), destination, units };
    await transaction(pool, async (client) => {
      const { orderId, total } = order;
      await client.query(insertOrder(orderId, userId, total.units, total.nanos, JSON.stringify(destination)));
      for (const [position, { productId, sku, name, price, quantity }] of lines.entries()) {
        await client.query(insertLine(orderId, position, productId, sku, name, price.units, price.nanos, quantity));
      }
    });
    await publish("order.placed", { orderId: order.orderId, userId, total: order.total });
    return order;
  }

  // Has the goods kept and the money held, or neither.
  async function secure({ orderId, userId, lines, total }, paymentMethod) {
    const undo = [];
    try {
      undo.push(`${INVENTORY_URL}/reservations/${orderId}/release`);
      const kept = lines.map(({ sku, quantity }) => ({ sku, quantity }));
      await call("POST", `${INVENTORY_URL}/reservations`, { orderId, lines: kept });
      undo.push(`${PAYMENTS_URL}/payments/${orderId}/void`);
      await call("POST", `${PAYMENTS_URL}/payments`, { orderId, userId, ...total, paymentMethod });
    } catch (error) {
      if (error.reason === "PAYMENT_DECLINED") undo.pop();
      for (const url of undo.reverse()) await call("POST", url);
      throw error;
    }
  }

  async function confirm(order, paymentMethod) {
    try {
      await secure(order, paymentMethod);
    } catch (error) {
      await setState(order, "cancelled");
      throw error;
    }
    await setState(order, "confirmed");
    await publish("order.confirmed", { orderId: order.orderId, userId: order.userId, total: order.total });
  }

  // What remains once the shopper has an answer.
  async function finish(order) {
    const { orderId, userId, destination, units } = order;
    await call("POST", `${INVENTORY_URL}/reservations/${orderId}/commit`);
    await call("POST", `${PAYMENTS_URL}/payments/${orderId}/capture`);
    await call("POST", `${SHIPPING_URL}/shipments`, { orderId, userId, destination, units });
    await setState(order, "done");
  }

  app.post("/v1/orders", authenticate, async (request, response) => {
    const order = await begin(request.userId, request.body);
    await confirm(order, request.body.paymentMethod);
    const { orderId, userId, lines, total } = order;
    const answer = { orderId, userId, state: "STATE_CONFIRMED", lines, total: { currencyCode: "EUR", ...total } };
    response.json({ order: answer });
    finish(order).catch((error) => console.error(`order ${orderId} is confirmed and not finished`, error));
  });
}

const subscriptions = (pool) => ({
  "shipment.dispatched": (event) => pool.query(save(event.orderId, "shipped")),
  "shipment.delivered": (event) => pool.query(save(event.orderId, "delivered")),
});

start("orders", schema, routes, subscriptions);
