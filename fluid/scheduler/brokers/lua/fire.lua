-- fire: one tick of a schedule, once in the whole fleet, or the ticks up to it given up as missed.
-- KEYS: stream_rh, stream_rm, stream_rl, scheduled_h, scheduled_m, scheduled_l, bell, books, schedules, run
-- ARGV: task, fingerprint, tick, nonce, id, priority, version, deliveries, message
-- RETURNS: now, fired | passed | new | early | done, the last tick that counts.
-- TWICE: a tick counts once; the nonce that moved it is kept, and is told again that it did.

local now = clock()
local kept = call('HGET', K.schedules, A.task)
local fingerprint, last, nonce
if kept then fingerprint, last, nonce = string.match(kept, '^(%S+) (%d+) (%S+)$') end
if fingerprint ~= A.fingerprint then
  -- a new or changed schedule starts from now
  call('HSET', K.schedules, A.task, A.fingerprint .. ' ' .. now .. ' ' .. A.nonce)
  return {now, 'new', now}
end

last = tonumber(last)
local tick = tonumber(A.tick)
local done = A.id == '' and 'passed' or 'fired'
if tick <= last then return {now, tick == last and nonce == A.nonce and done or 'done', last} end
-- a scheduler whose clock is ahead must not fire the future
if tick > now then return {now, 'early', last} end

call('HSET', K.schedules, A.task, A.fingerprint .. ' ' .. A.tick .. ' ' .. A.nonce)
if A.id ~= '' and call('EXISTS', K.run .. A.id) == 0 then
  local m = {
    id = A.id, task = A.task, priority = A.priority, version = A.version,
    deliveries = A.deliveries, message = A.message,
  }
  accept(m, now, now)
  call('HINCRBY', K.books, 'accepted', 1)
  ring()
end
return {now, done, tick}
