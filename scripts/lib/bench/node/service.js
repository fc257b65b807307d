// GET /v1/products/:product_id from PostgreSQL: one prepared statement on a pool, the same JSON as the catalog's.
"use strict";

const fs = require("node:fs");
const express = require("express");
const { Pool } = require("pg");

const pool = new Pool({ connectionString: process.env.DATABASE_URL, max: 10 });

const byId = {
  name: "product_by_id", // prepared once on each connection
  text: `SELECT product_id, sku, name, description, category, price_currency, price_units, price_nanos, images, tags,
                create_time, update_time
         FROM products WHERE product_id = $1 AND delete_time IS NULL`,
};

const app = express();
app.disable("x-powered-by");
app.disable("etag"); // a hash over each answer, which the other side does not compute either

app.get("/v1/products/:product_id", async (request, response) => {
  const { rows } = await pool.query({ ...byId, values: [request.params.product_id] });
  if (rows.length === 0) {
    response.status(404).json({ message: `no product ${request.params.product_id}` });
    return;
  }
  const row = rows[0];
  response.json({
    product: {
      productId: row.product_id,
      sku: row.sku,
      name: row.name,
      description: row.description,
      category: row.category,
      price: { currencyCode: row.price_currency, units: row.price_units, nanos: row.price_nanos },
      images: row.images.map(([uri, altText]) => ({ uri, altText })),
      tags: row.tags,
      createTime: row.create_time,
      updateTime: row.update_time,
    },
  });
});

const server = app.listen(0, "127.0.0.1", () => {
  fs.writeSync(Number(process.env.BENCH_READY_FD), `${server.address().port}\n`);
  fs.closeSync(Number(process.env.BENCH_READY_FD));
});
process.on("SIGTERM", () => process.exit(0));
