-- wrk: places orders of one line each, every one with a key of its own, and reports as one line of JSON.
local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(args)
  local file = io.open(args[1])
  body = file:read("*a")
  file:close()
  prefix, count, confirmed = args[3], 0, 0
  headers = {["content-type"] = "application/json", authorization = "Bearer " .. args[2]}
end

function request()
  count = count + 1
  headers["idempotency-key"] = prefix .. "-" .. count
  return wrk.format("POST", "/v1/orders", headers, body)
end

function response(status, _, text)
  if status == 200 and string.find(text, "STATE_CONFIRMED", 1, true) then
    confirmed = confirmed + 1
  end
end

function done(summary, latency, _)
  local sum = 0
  for _, thread in ipairs(threads) do
    sum = sum + thread:get("confirmed")
  end
  io.write(string.format(
    '{"requests":%d,"confirmed":%d,"duration_us":%d,"p50_us":%d,"p99_us":%d}\n',
    summary.requests, sum, summary.duration, latency:percentile(50), latency:percentile(99)))
end
