// What there is to buy, and what it costs.
"use strict";

const { prepared, start } = require("./service");

const schema = `
  CREATE TABLE IF NOT EXISTS products (product_id uuid PRIMARY KEY, sku text NOT NULL UNIQUE, name text NOT NULL,
    price_units bigint NOT NULL, price_nanos int NOT NULL)`;
const productsById = prepared(
  "products_by_id",
  "SELECT product_id, sku, name, price_units, price_nanos FROM products WHERE product_id = ANY($1::uuid[])",
);

start("catalog", schema, (app, pool) => {
  app.post("/products/batch", async (request, response) => {
    const { rows } = await pool.query(productsById(request.body.productIds));
    const products = rows.map((row) => ({
      productId: row.product_id,
      sku: row.sku,
      name: row.name,
      price: { units: row.price_units, nanos: row.price_nanos },
    }));
    response.json({ products });
  });
});
