// The front door: everything goes to one service, over connections that are kept.
"use strict";

const fs = require("node:fs");
const http = require("node:http");
const express = require("express");
const { createProxyMiddleware } = require("http-proxy-middleware");

const app = express();
app.disable("x-powered-by");
app.use(
  createProxyMiddleware({
    target: process.env.TARGET,
    agent: new http.Agent({ keepAlive: true, maxSockets: 256, noDelay: true }),
    xfwd: true,
  }),
);

const server = app.listen(0, "127.0.0.1", () => {
  fs.writeSync(Number(process.env.BENCH_READY_FD), `${server.address().port}\n`);
  fs.closeSync(Number(process.env.BENCH_READY_FD));
});
process.on("SIGTERM", () => process.exit(0));
