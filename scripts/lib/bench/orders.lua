-- wrk: shoppers place orders in turn, every one with a key of its own; reports as one line of JSON.
--
-- Arguments: a file with a token in each line, one with an order in each line, what keys begin with, for how many
-- seconds orders are placed, and on how many connections. Then wrk ends with the last answer: an order whose shopper
-- hangs up is done later, by whoever finds it, and that is not what is measured here.
local ffi = require("ffi")
ffi.cdef("int getpid(void); int kill(int process, int signal);")
local SIGINT, NEVER_MS = 2, 3600000
local threads = {}

local function read_lines(path)
  local found = {}
  for line in io.lines(path) do
    table.insert(found, line)
  end
  return found
end

function setup(thread)
  table.insert(threads, thread)
end

function init(args)
  tokens, orders, prefix = read_lines(args[1]), read_lines(args[2]), args[3]
  ends_s, connections = os.time() + tonumber(args[4]), tonumber(args[5])
  placed, resting, confirmed, pending = 0, 0, 0, 0
end

function request()
  placed = placed + 1
  local headers = {
    ["content-type"] = "application/json",
    ["authorization"] = "Bearer " .. tokens[placed % #tokens + 1],
    ["idempotency-key"] = prefix .. "-" .. placed,
  }
  return wrk.format("POST", "/v1/orders", headers, orders[placed % #orders + 1])
end

function response(status, _, text)
  if status == 200 and string.find(text, "STATE_CONFIRMED", 1, true) then
    confirmed = confirmed + 1
  elseif status == 200 and string.find(text, "STATE_PENDING", 1, true) then
    pending = pending + 1
  end
end

function delay()  -- asked before every request but a connection's first
  if os.time() < ends_s then
    return 0
  end
  resting = resting + 1
  if resting == connections then
    wrk.thread:stop()
    ffi.C.kill(ffi.C.getpid(), SIGINT)  -- wakes wrk, which otherwise sleeps for the time it was given
  end
  return NEVER_MS
end

function done(summary, latency, _)
  local sums = {confirmed = 0, pending = 0}
  for _, thread in ipairs(threads) do
    for name, sum in pairs(sums) do
      sums[name] = sum + thread:get(name)
    end
  end
  local errors = summary.errors
  io.write(string.format(
    '{"answers":%d,"confirmed":%d,"pending":%d,"lost":%d,"p50_us":%d,"p99_us":%d}\n',
    summary.requests, sums.confirmed, sums.pending, errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
