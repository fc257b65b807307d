-- wrk: reads the products that rows.py made, one after another, and reports as one line of JSON.
local rows, next_row = 1, 0

function init(args)
  rows = tonumber(args[1])
end

function request()
  next_row = (next_row + 1) % rows
  return wrk.format("GET", string.format("/v1/products/00000000-0000-4000-8000-%012d", next_row))
end

function done(summary, latency, _)
  io.write(string.format(
    '{"requests":%d,"duration_us":%d,"p50_us":%d,"p99_us":%d,' ..
    '"errors":{"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    summary.errors.connect, summary.errors.read, summary.errors.write, summary.errors.status, summary.errors.timeout))
end
