-- tidy: what nobody needs any more goes: silent consumers, waiters that gave up, old reports, the index of expired evidence.
--   Held runs whose parameters fit no model of a consumer alive are dead.
-- KEYS: STREAMS, HELD, DEAD, consumers, seen, claims, failed, unique, cancelled, waited, reporting, upkeep, done, run
-- ARGV: interval, silence, waiting, evidence
-- RETURNS: how many consumers went (-1: another consumer has tidied within the interval), then the fields of each run
--   that is dead.
-- TWICE: it removes what is old, by the broker's clock.

local now = clock()
local last = call('HGET', K.upkeep, 'tidied')
if last and now - last < tonumber(A.interval) then return {-1} end
call('HSET', K.upkeep, 'tidied', now)
local gone = 0
for _, consumer in ipairs(call('ZRANGEBYSCORE', K.seen, '-inf', now - A.silence, 'LIMIT', 0, 100)) do
  if leave(consumer, CODES) then gone = gone + 1 end
end
call('ZREMRANGEBYSCORE', K.waited, '-inf', now - A.waiting)
call('ZREMRANGEBYSCORE', K.reporting, '-inf', now - A.waiting)
call('ZREMRANGEBYLEX', K.failed, '-', '(' .. in_time(now - A.evidence + 1))

local answer = {gone}
if call('EXISTS', K.held_h, K.held_m, K.held_l) == 0 then return answer end

local function give_up(letter, task, why)
  local first = '[' .. task .. '\0' .. why .. '\0'
  for _, member in ipairs(call('ZRANGEBYLEX', K['held_' .. letter], first, first .. '\255', 'LIMIT', 0, 500)) do
    local m = run_at('held', member)
    if m then
      call('SREM', K.cancelled, m.id)
      die(m, 'invalid_params', now)
      call('HDEL', K.run .. m.id, 'why', 'since')
      answer[#answer + 1] = flat(m)
    end
    call('ZREM', K['held_' .. letter], member)
  end
end

-- of a task that nobody knows any more, the runs wait for one who does
for task in pairs(models()) do
  for _, letter in ipairs(LETTERS) do
    for _, why in ipairs(whys(K['held_' .. letter], task, 'invalid_params')) do
      if not untried(task, why) then give_up(letter, task, why) end
    end
  end
end
return answer
