// What things cost.
"use strict";

const { start } = require("./service");

const schema = `CREATE TABLE IF NOT EXISTS products (
  product_id uuid PRIMARY KEY, sku text NOT NULL, name text NOT NULL, price_units bigint NOT NULL, price_nanos int NOT NULL)`;

start("catalog", schema, (app, pool) => {
  app.post("/products:batchGet", async (request, response) => {
    const { rows } = await pool.query({
      name: "products_by_id",
      text: "SELECT product_id, sku, name, price_units, price_nanos FROM products WHERE product_id = ANY($1::uuid[])",
      values: [request.body.productIds],
    });
    response.json({ products: rows });
  });
});
