-- The load, the same for the service and for the yardstick.
--
-- The first argument names a file with one request in each line: method, path, session token, body.
-- All of them are put together before the clock starts, so that a request costs one table access.
-- The second argument, if it isn't 0, is the longest pause of a connection between an answer and
-- its next request, in milliseconds; pauses are random, so that connections don't move in step.
--
-- There is no response hook: it would cost wrk a call into Lua for each answer. What the answers
-- were is asked of the server.

local threads = 0

function setup(thread)
   thread:set("number", threads)
   threads = threads + 1
end

function init(args)
   requests = {}
   for line in io.lines(args[1]) do
      local method, path, token, body = line:match("^(%S+) (%S+) (%S+) ?(.*)$")
      local headers = { ["Cookie"] = "session_id=" .. token }
      if body == "" then
         body = nil
      else
         headers["Content-Type"] = "application/json"
      end
      requests[#requests + 1] = wrk.format(method, path, headers, body)
   end
   count = #requests
   -- Each thread begins elsewhere in the list.
   turn = math.floor(count * number / 2)

   local pause_ms_max = tonumber(args[2])
   if pause_ms_max > 0 then
      math.randomseed(number + 1)
      function delay()
         return math.floor(math.random() * pause_ms_max + 0.5)
      end
   end
end

function request()
   turn = turn % count + 1
   return requests[turn]
end

function done(summary, latency)
   local errors = summary.errors
   io.write(string.format(
      'RESULT {"requests":%.0f,"micros":%.0f,"statusErrors":%.0f,"connectErrors":%.0f,"readErrors":%.0f,'
         .. '"writeErrors":%.0f,"timeouts":%.0f,"p50":%.0f,"p99":%.0f,"p999":%.0f,"max":%.0f}\n',
      summary.requests, summary.duration, errors.status, errors.connect, errors.read,
      errors.write, errors.timeout, latency:percentile(50), latency:percentile(99),
      latency:percentile(99.9), latency.max))
end
