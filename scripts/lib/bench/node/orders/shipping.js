// Parcels: booked when an order asks, then told to the others.
"use strict";

const { randomUUID } = require("node:crypto");
const { start } = require("./service");

const schema = `CREATE TABLE IF NOT EXISTS shipments (order_id uuid PRIMARY KEY, tracking_number text NOT NULL,
  destination jsonb NOT NULL, state text NOT NULL)`;

start("shipping", schema, (app, pool, publish) => {
  app.post("/shipments", async (request, response) => {
    const { orderId, destination } = request.body;
    const trackingNumber = randomUUID().replaceAll("-", "").toUpperCase();
    await pool.query("INSERT INTO shipments VALUES ($1, $2, $3, 'created') ON CONFLICT DO NOTHING", [
      orderId,
      trackingNumber,
      JSON.stringify(destination),
    ]);
    await publish("shipment.created", { orderId, trackingNumber });
    response.json({ trackingNumber });
  });
});
