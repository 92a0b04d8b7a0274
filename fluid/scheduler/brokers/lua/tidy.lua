-- tidy: what nobody needs any more goes: silent consumers, waiters that gave up, the index of expired evidence.
-- KEYS: STREAMS, consumers, seen, claims, failed, waited, upkeep
-- ARGV: interval, silence, waiting, evidence
-- RETURNS: how many consumers went; -1 if another consumer has tidied within the interval.
-- TWICE: it removes what is old, by the broker's clock.

local now = clock()
local last = call('HGET', K.upkeep, 'tidied')
if last and now - last < tonumber(A.interval) then return -1 end
call('HSET', K.upkeep, 'tidied', now)
local gone = 0
for _, consumer in ipairs(call('ZRANGEBYSCORE', K.seen, '-inf', now - A.silence, 'LIMIT', 0, 100)) do
  if leave(consumer, CODES) then gone = gone + 1 end
end
call('ZREMRANGEBYSCORE', K.waited, '-inf', now - A.waiting)
call('ZREMRANGEBYSCORE', K.failed, '-inf', now - A.evidence)
return gone
