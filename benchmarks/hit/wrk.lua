-- For wrk: asks for the targets of a file in turn, and ends with one line of exact figures.
-- Usage: wrk … -s wrk.lua URL -- FILE_OF_TARGETS
-- One target: wrk keeps its ready-made request, which is cheaper than a call into this file.
local ready = {}
local index = 0

function init(args)
  for target in io.lines(args[1]) do
    ready[#ready + 1] = wrk.format("GET", target)
  end
  if #ready > 1 then
    request = function()
      index = index % #ready + 1
      return ready[index]
    end
  end
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    'figures: {"requests": %d, "bytes": %d, "us": %d, "p50_us": %d, "p99_us": %d, "status": %d, "socket": %d}\n',
    summary.requests, summary.bytes, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
