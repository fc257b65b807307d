// What every service of the comparison needs: an app, a pool on its own database, JSON calls to others, events.
"use strict";

const fs = require("node:fs");
const http = require("node:http");
const amqp = require("amqplib");
const express = require("express");
const { Pool } = require("pg");

const agent = new http.Agent({ keepAlive: true, maxSockets: 256, noDelay: true });

// Calls another service, with a deadline. Throws an Error with the `status` and `reason` of a refusal.
function call(method, base, path, body, more = {}, timeout = 3000) {
  return new Promise((resolve, reject) => {
    const text = body === undefined ? undefined : JSON.stringify(body);
    const length = text === undefined ? {} : { "content-type": "application/json", "content-length": Buffer.byteLength(text) };
    const headers = { ...length, ...more };
    const request = http.request(base + path, { method, agent, headers, timeout }, (response) => {
      const chunks = [];
      response.on("data", (chunk) => chunks.push(chunk));
      response.on("end", () => {
        const answer = JSON.parse(Buffer.concat(chunks).toString() || "{}");
        if (response.statusCode < 400) return resolve(answer);
        reject(Object.assign(new Error(answer.message), { status: response.statusCode, reason: answer.reason }));
      });
    });
    request.on("timeout", () => request.destroy(new Error("timeout")));
    request.on("error", reject);
    request.end(text);
  });
}

// Runs `work` in a transaction of `pool`.
async function transaction(pool, work) {
  const client = await pool.connect();
  try {
    await client.query("BEGIN");
    const result = await work(client);
    await client.query("COMMIT");
    return result;
  } catch (error) {
    await client.query("ROLLBACK");
    throw error;
  } finally {
    client.release();
  }
}

function refuse(status, reason, message) {
  return Object.assign(new Error(message), { status, reason });
}

// Starts a service: `schema` is run once, `routes` adds to the app, `subscriptions` maps a routing key to its handler.
async function start(name, schema, routes, subscriptions = {}) {
  const pool = new Pool({ connectionString: process.env.DATABASE_URL, max: 10 });
  await pool.query(schema);
  const connection = await amqp.connect(process.env.BROKER_URL);
  const channel = await connection.createConfirmChannel();
  await channel.assertExchange("shop", "topic", { durable: true });
  const publish = (key, event) =>
    new Promise((resolve, reject) => {
      const body = Buffer.from(JSON.stringify(event));
      channel.publish("shop", key, body, { persistent: true }, (error) => (error ? reject(error) : resolve()));
    });
  const keys = Object.keys(subscriptions);
  if (keys.length > 0) {
    await channel.assertQueue(name, { durable: true });
    for (const key of keys) await channel.bindQueue(name, "shop", key);
    await channel.prefetch(64);
    await channel.consume(name, async (message) => {
      await subscriptions[message.fields.routingKey](pool, JSON.parse(message.content.toString()));
      channel.ack(message);
    });
  }
  const app = express();
  app.disable("x-powered-by");
  app.disable("etag");
  app.use(express.json());
  routes(app, pool, publish);
  app.use((error, request, response, next) => {
    if (!error.status) console.error(error);
    response.status(error.status || 500).json({ reason: error.reason || "INTERNAL", message: error.message });
  });
  const server = app.listen(0, "127.0.0.1", () => {
    fs.writeSync(Number(process.env.BENCH_READY_FD), `${server.address().port}\n`);
    fs.closeSync(Number(process.env.BENCH_READY_FD));
  });
  process.on("SIGTERM", () => process.exit(0));
}

module.exports = { call, refuse, start, transaction };
