// What each of these services is made of: an app, a pool on a database of its own, calls to others, events.
"use strict";

const fs = require("node:fs");
const http = require("node:http");
const amqp = require("amqplib");
const express = require("express");
const { Pool } = require("pg");

const EXCHANGE = "shop";
const agent = new http.Agent({ keepAlive: true, maxSockets: 256, noDelay: true });

// An answer that is a refusal: what it says reaches the caller.
class Refusal extends Error {
  constructor(status, reason, message) {
    super(message);
    Object.assign(this, { status, reason });
  }
}

// Calls another service with a time limit. Throws a Refusal where it refuses, another Error where it can't be asked.
function call(method, url, body, { headers = {}, timeout = 3000 } = {}) {
  return new Promise((resolve, reject) => {
    const text = body === undefined ? undefined : JSON.stringify(body);
    const sent = { ...headers };
    if (text !== undefined) {
      sent["content-type"] = "application/json";
      sent["content-length"] = Buffer.byteLength(text);
    }
    const request = http.request(url, { method, agent, headers: sent, timeout }, (response) => {
      const chunks = [];
      response.on("data", (chunk) => chunks.push(chunk));
      response.on("error", reject);
      response.on("end", () => {
        try {
          const answer = JSON.parse(Buffer.concat(chunks).toString() || "{}");
          if (response.statusCode < 400) resolve(answer);
          else if (response.statusCode >= 500) reject(new Error(`${url} answers ${response.statusCode}`));
          else reject(new Refusal(response.statusCode, answer.reason || answer.code, answer.message));
        } catch (error) {
          reject(error);
        }
      });
    });
    request.on("timeout", () => request.destroy(new Error(`${url} takes too long`)));
    request.on("error", reject);
    request.end(text);
  });
}

// Returns what makes a statement that each connection prepares once.
const prepared = (name, text) => (...values) => ({ name, text, values });

// Runs `work` in one transaction.
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

// Returns `publish(key, event)`, which resolves when the broker has confirmed; hears `subscriptions`, key -> handler.
async function connect(name, subscriptions) {
  const connection = await amqp.connect(process.env.BROKER_URL, { noDelay: true });
  const channel = await connection.createConfirmChannel();
  await channel.assertExchange(EXCHANGE, "topic", { durable: true });
  const keys = Object.keys(subscriptions);
  if (keys.length > 0) {
    await channel.assertQueue(name, { durable: true, arguments: { "x-queue-type": "quorum" } });
    for (const key of keys) await channel.bindQueue(name, EXCHANGE, key);
    await channel.prefetch(64);
    await channel.consume(name, async (message) => {
      await subscriptions[message.fields.routingKey](JSON.parse(message.content.toString()));
      channel.ack(message);
    });
  }
  return (key, event) =>
    new Promise((resolve, reject) => {
      const body = Buffer.from(JSON.stringify(event));
      const options = { persistent: true, contentType: "application/json" };
      channel.publish(EXCHANGE, key, body, options, (error) => (error ? reject(error) : resolve()));
    });
}

// Starts a service: `schema` is applied, `routes(app, pool, publish)` adds what it answers.
async function start(name, schema, routes, subscriptions = () => ({})) {
  const pool = new Pool({ connectionString: process.env.DATABASE_URL, max: 10 });
  await pool.query(schema);
  const publish = await connect(name, subscriptions(pool));
  const app = express();
  app.disable("x-powered-by");
  app.disable("etag"); // a hash over each answer, which the other side does not compute either
  app.use(express.json());
  routes(app, pool, publish);
  app.use((error, request, response, next) => {
    if (!(error instanceof Refusal)) console.error(error);
    const said = error instanceof Refusal ? error : new Refusal(500, "INTERNAL", "internal error");
    const { status, reason, message } = said;
    response.status(status).json({ reason, message });
  });
  const server = app.listen(0, "127.0.0.1", () => {
    fs.writeSync(Number(process.env.BENCH_READY_FD), `${server.address().port}\n`);
    fs.closeSync(Number(process.env.BENCH_READY_FD));
  });
  process.on("SIGTERM", () => process.exit(0));
}

module.exports = { Refusal, call, prepared, start, transaction };
