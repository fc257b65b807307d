// The money. What is to be done is written down before the provider is asked, and what came of it afterwards.
"use strict";

const { Refusal, call, prepared, start } = require("./service");

const schema = `
  CREATE TABLE IF NOT EXISTS payments (order_id uuid PRIMARY KEY, user_id text NOT NULL, cents bigint NOT NULL,
    state text NOT NULL, create_time timestamptz NOT NULL DEFAULT now(),
    update_time timestamptz NOT NULL DEFAULT now())`;
const { PROVIDER_URL } = process.env;

const open = prepared(
  "open",
  "INSERT INTO payments (order_id, user_id, cents, state) VALUES ($1, $2, $3, 'authorizing')",
);
const save = prepared("save", "UPDATE payments SET state = $2, update_time = now() WHERE order_id = $1");

// Asks the provider, which does once what is asked with one key.
const ask = (path, what, orderId, body) =>
  call("POST", PROVIDER_URL + path, body, { headers: { "idempotency-key": `${what}-${orderId}` }, timeout: 2500 });

start("payments", schema, (app, pool, publish) => {
  app.post("/payments", async (request, response) => {
    const { orderId, userId, units, nanos, paymentMethod } = request.body;
    const cents = Number(units) * 100 + nanos / 10_000_000;
    await pool.query(open(orderId, userId, cents));
    try {
      const body = { reference: orderId, currency: "EUR", amount: cents, payment_method: paymentMethod };
      await ask("/payments", "authorize", orderId, body);
    } catch (error) {
      if (error.status !== 402) throw error; // it may be held or not: orders will have it let go
      await pool.query(save(orderId, "declined"));
      throw new Refusal(409, "PAYMENT_DECLINED", error.reason);
    }
    await pool.query(save(orderId, "authorized"));
    await publish("payment.authorized", { orderId, userId, cents });
    response.json({});
  });

  app.post("/payments/:order_id/capture", async (request, response) => {
    const { order_id: orderId } = request.params;
    await ask(`/payments/${orderId}/capture`, "capture", orderId);
    await pool.query(save(orderId, "captured"));
    await publish("payment.captured", { orderId });
    response.json({});
  });

  app.post("/payments/:order_id/void", async (request, response) => {
    const { order_id: orderId } = request.params;
    try {
      await ask(`/payments/${orderId}/void`, "void", orderId);
    } catch (error) {
      if (error.status !== 422) throw error; // otherwise nothing was held
    }
    await pool.query(save(orderId, "voided"));
    response.json({});
  });
});
