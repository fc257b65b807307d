// Parcels: what they cost, and those that are booked.
"use strict";

const { randomBytes } = require("node:crypto");
const { Refusal, prepared, start } = require("./service");

const schema = `
  CREATE TABLE IF NOT EXISTS shipments (order_id uuid PRIMARY KEY, user_id text NOT NULL,
    tracking_number text NOT NULL UNIQUE, destination jsonb NOT NULL, rate_cents int NOT NULL, state text NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now())`;
const book = prepared(
  "book",
  `INSERT INTO shipments (order_id, user_id, tracking_number, destination, rate_cents, state)
   VALUES ($1, $2, $3, $4, $5, 'created') ON CONFLICT (order_id) DO NOTHING`,
);
const UNION = new Set("AT BE BG CY CZ DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK".split(" "));

// What `units`, at most 30 in a parcel, cost in cents.
function rate(countryCode, units) {
  if (countryCode !== "DE" && !UNION.has(countryCode)) {
    throw new Refusal(409, "DESTINATION_NOT_SERVED", "no carrier goes there");
  }
  const [small, middle, large] = countryCode === "DE" ? [490, 690, 1190] : [990, 1490, 2490];
  const rest = units % 30;
  return large * Math.floor(units / 30) + (rest === 0 ? 0 : rest <= 2 ? small : rest <= 10 ? middle : large);
}

start("shipping", schema, (app, pool, publish) => {
  app.post("/quotes", (request, response) => {
    response.json({ rateCents: rate(request.body.countryCode, request.body.units) });
  });

  app.post("/shipments", async (request, response) => {
    const { orderId, userId, destination, units } = request.body;
    const trackingNumber = randomBytes(10).toString("hex").toUpperCase();
    const cents = rate(destination.countryCode, units);
    await pool.query(book(orderId, userId, trackingNumber, JSON.stringify(destination), cents));
    await publish("shipment.created", { orderId, userId, trackingNumber });
    response.json({ trackingNumber });
  });
});
