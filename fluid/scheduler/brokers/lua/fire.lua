-- fire: one tick of a schedule, once in the whole fleet, or the ticks up to it given up as missed.
-- KEYS: stream_rh, stream_rm, stream_rl, scheduled_h, scheduled_m, scheduled_l, bell, books, schedules, unique, run
-- ARGV: task, fingerprint, tick, nonce, id, priority, version, deliveries, unique, group, message
-- RETURNS: now, fired | passed | new | early | done, the last tick that counts, the run that has the unique key of a
--   fired one, which is refused then.
-- TWICE: a tick counts once; the nonce that moved it is kept with what it was told, and is told so again.

local now = clock()
local kept = call('HGET', K.schedules, A.task)
local fingerprint, last, nonce, owner
if kept then fingerprint, last, nonce, owner = string.match(kept, '^(%S+) (%d+) ([^%s:]+):?(%S*)$') end
if fingerprint ~= A.fingerprint then
  -- a new or changed schedule starts from now
  call('HSET', K.schedules, A.task, A.fingerprint .. ' ' .. now .. ' ' .. A.nonce)
  return {now, 'new', now, ''}
end

last = tonumber(last)
local tick = tonumber(A.tick)
local done = A.id == '' and 'passed' or 'fired'
if tick <= last then
  if tick == last and nonce == A.nonce then return {now, done, last, owner} end
  return {now, 'done', last, ''}
end
-- a scheduler whose clock is ahead must not fire the future
if tick > now then return {now, 'early', last, ''} end

owner = ''
if A.id ~= '' and call('EXISTS', K.run .. A.id) == 0 then
  owner = A.unique ~= '' and take_unique(A.unique, A.id) or ''
  if owner == '' then
    local m = {
      id = A.id, task = A.task, priority = A.priority, version = A.version,
      deliveries = A.deliveries, unique = A.unique, group = A.group, message = A.message,
    }
    accept(m, now, now)
    call('HINCRBY', K.books, 'accepted', 1)
    ring()
  end
end
local told = owner == '' and A.nonce or A.nonce .. ':' .. owner
call('HSET', K.schedules, A.task, A.fingerprint .. ' ' .. A.tick .. ' ' .. told)
return {now, done, tick, owner}
