-- cancel: a run ends aborted; at once when it has not started, else its consumer is asked to cancel its body.
-- KEYS: STREAMS, SCHEDULED, HELD, DEAD, bell, books, leases, limits, running, unique, cancelled, waited, done, run
-- ARGV: id, nonce, only, reason, ttl
-- RETURNS: now, ended | asked | over (it had ended before) | elsewhere (it is not as `only` says: dead, or waiting
--   to be claimed) | unknown, fields.
-- TWICE: a run that is over is over, but for the nonce that ended it, which is told so again; asking twice is asking.

local now = clock()
local m = run_of(call('HGETALL', K.run .. A.id))
local at = m.at
local token = 'cancel/' .. A.nonce
if not at then return {now, 'unknown', {}} end
if at == 'success' or at == 'failure' or at == 'aborted' then
  return {now, m.token == token and 'ended' or 'over', {}}
end
local running = at_stream(at) and call('ZSCORE', K.leases, at .. '/' .. m.entry)
if A.only == 'dead' and at ~= 'dead' or A.only == 'waiting' and (running or at == 'dead') then
  return {now, 'elsewhere', {}}
end

if at_stream(at) then
  if running then
    call('SADD', K.cancelled, A.id)
    call('PUBLISH', K.done, 'cancel ' .. A.id)
    return {now, 'asked', {}}
  end
  local entry = m.entry
  m = read_entry(at, entry)
  call('XDEL', stream(at), entry)
  free_place(m)
elseif at == 'held' then
  call('ZREM', K['held_' .. m.priority], m.task .. '\0' .. m.why .. '\0' .. m.since .. '\0' .. m.id)
else
  call('ZREM', K[at .. '_' .. m.priority], m.id)
  free_place(m)
end
call('SREM', K.cancelled, A.id)
keep(m, 'aborted')
finish(m, 'aborted', token, A.reason, '', A.ttl)
call('HINCRBY', K.books, 'aborted', 1)
return {now, 'ended', flat(m)}
