-- rescue: runs whose lease ran out are delivered again, or are dead when that happened too often.
-- KEYS: STREAMS, HELD, DEAD, bell, books, leases, limits, running, unique, cancelled, waited, upkeep, done, run
-- ARGV: nonce, interval, silence, count, max_deliveries, ttl
-- RETURNS: now, then each run: what became of it (returned, dead, aborted), its last owner, its fields.
-- TWICE: one pass an interval in the whole fleet; what it did is kept, and told again to the same nonce.

local now = clock()

-- A message can be large, so of a rescued run all else is kept: what it was then. Its message is where the run
-- is now, if that is still known.
local function brief(m)
  local all_else = {}
  for field, value in pairs(m) do all_else[field] = value end
  all_else.message = ''
  return all_else
end

local function told_again(brief_answer)
  local answer = {now}
  for _, one in ipairs(brief_answer) do
    local fate, owner, m = unpack(one)
    local record = run_of(record_of(m.id))
    local whole = at_stream(record.at) and read_entry(record.at, record.entry) or record
    m.message = whole.message or ''
    answer[#answer + 1] = {fate, owner, flat(m)}
  end
  return answer
end

local kept = call('HMGET', K.upkeep, 'rescued', 'rescue_nonce', 'rescue_answer')
if kept[2] == A.nonce then return told_again(cmsgpack.unpack(kept[3])) end
if kept[1] and now - kept[1] < tonumber(A.interval) then return {now} end

if tonumber(A.silence) > 0 and (not kept[1] or now - kept[1] > tonumber(A.silence)) then
  -- nobody could reach us for a while, so nobody could renew: the keepers go first
  call('HSET', K.upkeep, 'rescued', now)
  return {now}
end
local answer, to_keep = {now}, {}
for _, token in ipairs(call('ZRANGEBYSCORE', K.leases, '-inf', now, 'LIMIT', 0, A.count)) do
  local code, entry = string.match(token, '^(%a%a)/(.+)$')
  local m = read_entry(code, entry)
  local pending = call('XPENDING', stream(code), 'fluid', entry, entry, 1)
  local owner = pending[1] and pending[1][2] or ''
  acknowledge(code, entry)
  if m then
    free_place(m)
    m.losses = m.losses + 1
    count_delivery(m)
    m.owners = m.owners and (m.owners .. ' ' .. owner) or owner
    local fate = 'returned'
    if call('SREM', K.cancelled, m.id) == 1 then
      fate = 'aborted'
      keep(m, fate)
      finish(m, fate, 'cancel', 'cancelled', '', A.ttl)
      call('HINCRBY', K.books, fate, 1)
    elseif m.losses >= (tonumber(m.deliveries) or tonumber(A.max_deliveries)) then
      fate = 'dead'
      die(m, 'lost_too_often', now)
    else
      put_back(m, 'b')
      ring()
    end
    answer[#answer + 1] = {fate, owner, flat(m)}
    to_keep[#to_keep + 1] = {fate, owner, brief(m)}
  end
end
call('HSET', K.upkeep, 'rescued', now, 'rescue_nonce', A.nonce, 'rescue_answer', cmsgpack.pack(to_keep))
return answer
