-- cancel: runs end aborted; at once those that have not started, of the others their consumers are asked to cancel the body.
-- KEYS: STREAMS, SCHEDULED, HELD, DEAD, bell, books, leases, limits, running, unique, cancelled, waited, done, run
-- ARGV: nonce, only, reason, ttl, runs of (id)
-- RETURNS: for each run: ended | asked | over (it had ended before) | elsewhere (it is not as `only` says: dead, or
--   waiting to be claimed) | unknown.
-- TWICE: a run that is over is over, but for the nonce that ended it, which is told so again; asking twice is asking.

local token = 'cancel/' .. A.nonce

local function cancel(id)
  local m = run_of(record_of(id))
  local at = m.at
  if not at then return 'unknown' end
  if is_final(at) then return m.token == token and 'ended' or 'over' end
  local running = at_stream(at) and call('ZSCORE', K.leases, at .. '/' .. m.entry)
  if A.only == 'dead' and at ~= 'dead' or A.only == 'waiting' and (running or at == 'dead') then
    return 'elsewhere'
  end
  if running then
    call('SADD', K.cancelled, id)
    call('PUBLISH', K.done, 'cancel ' .. id)
    return 'asked'
  end
  local waits = at_stream(at) and read_entry(at, m.entry) or m
  if at ~= 'held' then free_place(waits) end
  -- whoever finds half of this knows by the wish to look whether it has ended
  if at_stream(at) then call('SADD', K.cancelled, id) end
  abort(waits, token, A.reason, A.ttl)
  if at_stream(at) then
    call('XDEL', stream(at), m.entry)
  else
    call('ZREM', K[at .. '_' .. m.priority], at == 'held' and held_as(m) or m.listed)
  end
  call('SREM', K.cancelled, id)
  call('HINCRBY', K.books, 'aborted', 1)
  return 'ended'
end

local answer = {}
for i = REST + 1, #ARGV do answer[#answer + 1] = cancel(ARGV[i]) end
return answer
