-- cancel: runs end aborted; at once those that have not started, of the others their consumers are asked to cancel the body.
-- KEYS: STREAMS, SCHEDULED, HELD, DEAD, bell, books, leases, limits, running, unique, cancelled, waited, done, run
-- ARGV: nonce, only, reason, ttl, runs of (id)
-- RETURNS: for each run: ended | asked | over (it had ended before) | elsewhere (it is not as `only` says: dead, or
--   waiting to be claimed) | unknown.
-- TWICE: a run that is over is over, but for the nonce that ended it, which is told so again; asking twice is asking.

local token = 'cancel/' .. A.nonce

-- Out of wherever it waits; its fields.
local function withdraw(m)
  local at = m.at
  if at_stream(at) then
    local fields = read_entry(at, m.entry)
    call('XDEL', stream(at), m.entry)
    free_place(fields)
    return fields
  end
  if at == 'held' then
    call('ZREM', K['held_' .. m.priority], m.task .. '\0' .. m.why .. '\0' .. m.since .. '\0' .. m.id)
  else
    call('ZREM', K[at .. '_' .. m.priority], m.listed)
    free_place(m)
  end
  return m
end

local function cancel(id)
  local m = run_of(record_of(id))
  local at = m.at
  if not at then return 'unknown' end
  if at == 'success' or at == 'failure' or at == 'aborted' then return m.token == token and 'ended' or 'over' end
  local running = at_stream(at) and call('ZSCORE', K.leases, at .. '/' .. m.entry)
  if A.only == 'dead' and at ~= 'dead' or A.only == 'waiting' and (running or at == 'dead') then
    return 'elsewhere'
  end
  if running then
    call('SADD', K.cancelled, id)
    call('PUBLISH', K.done, 'cancel ' .. id)
    return 'asked'
  end
  m = withdraw(m)
  call('SREM', K.cancelled, id)
  keep(m, 'aborted')
  finish(m, 'aborted', token, A.reason, '', A.ttl)
  call('HINCRBY', K.books, 'aborted', 1)
  return 'ended'
end

local answer = {}
for i = REST + 1, #ARGV do answer[#answer + 1] = cancel(ARGV[i]) end
return answer
