-- tell: events of one process into the stream that keeps the newest of the whole fleet.
-- KEYS: events, told
-- ARGV: teller, keep, first, events of (event)
-- RETURNS: the number of the last one, as its teller counts them.
-- TWICE: a teller numbers its events without gaps, and the last number told is kept for a minute: what has a
--   number up to that is there already.

-- An entry's id is the instant, and behind it how many were ever told: a reader sees how many it missed.
local stream = redis.pcall('XINFO', 'STREAM', K.events)
local newest = stream.err and '0-0' or map(stream)['last-generated-id']
local instant, count = string.match(newest, '^(%d+)-(%d+)$')
instant, count = math.max(clock(), tonumber(instant)), tonumber(count)

local told = tonumber(call('GET', K.told .. A.teller) or 0)
local number = tonumber(A.first) - 1
for i = REST + 1, #ARGV do
  number = number + 1
  if number > told then
    count = count + 1
    local id = string.format('%.0f-%.0f', instant, count)
    call('XADD', K.events, 'MAXLEN', '~', A.keep, id, 'event', ARGV[i])
  end
end
call('SET', K.told .. A.teller, number, 'PX', 60000)
return number
