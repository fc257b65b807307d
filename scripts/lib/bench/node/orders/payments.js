// The money: each step is written down, then asked of the provider, then written down again.
"use strict";

const { call, refuse, start } = require("./service");

const schema = `CREATE TABLE IF NOT EXISTS payments (order_id uuid PRIMARY KEY, user_id text NOT NULL, units bigint NOT NULL,
  nanos int NOT NULL, state text NOT NULL)`;
const provider = process.env.PROVIDER_URL;

start("payments", schema, (app, pool, publish) => {
  const set = (orderId, state) => pool.query("UPDATE payments SET state = $2 WHERE order_id = $1", [orderId, state]);
  const ask = (orderId, what, path, body) => call("POST", provider, path, body, { "Idempotency-Key": `${orderId}-${what}` });

  app.post("/payments", async (request, response) => {
    const { orderId, userId, units, nanos, paymentMethod } = request.body;
    await pool.query("INSERT INTO payments VALUES ($1, $2, $3, $4, 'authorizing')", [orderId, userId, units, nanos]);
    const amount = Number(units) * 100 + nanos / 10000000;
    try {
      await ask(orderId, "hold", "/payments", { reference: orderId, currency: "EUR", amount, payment_method: paymentMethod });
    } catch (error) {
      if (error.status !== 402) throw error;
      await set(orderId, "declined");
      throw refuse(409, "PAYMENT_DECLINED", "declined");
    }
    await set(orderId, "authorized");
    await publish("payment.authorized", { orderId });
    response.json({});
  });

  app.post("/payments/:order_id/capture", async (request, response) => {
    const orderId = request.params.order_id;
    await ask(orderId, "take", `/payments/${orderId}/capture`);
    await set(orderId, "captured");
    await publish("payment.captured", { orderId });
    response.json({});
  });

  app.post("/payments/:order_id/void", async (request, response) => {
    const orderId = request.params.order_id;
    await ask(orderId, "let-go", `/payments/${orderId}/void`);
    await set(orderId, "voided");
    response.json({});
  });
});
