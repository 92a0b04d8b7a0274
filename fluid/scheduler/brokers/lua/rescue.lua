-- rescue: runs whose lease ran out are delivered again, or are dead when that happened too often.
-- KEYS: STREAMS, SCHEDULED, HELD, DEAD, bell, books, leases, limits, running, unique, cancelled, waited, upkeep, done, run
-- ARGV: nonce, interval, silence, count, max_deliveries, ttl
-- RETURNS: now, then each run: what became of it (returned, dead, aborted), its last owner, `stranded` when it had no
--   lease at all, its fields.
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
    local fate, owner, why, m = unpack(one)
    local record = run_of(record_of(m.id))
    local whole = at_stream(record.at) and read_entry(record.at, record.entry) or record
    m.message = whole.message or ''
    answer[#answer + 1] = {fate, owner, why, flat(m)}
  end
  return answer
end

-- Whether its record says, and rightly, that the run is not in this entry: a move of it was carried out by half.
local function is_elsewhere(record, code, entry)
  local at = record.at
  if not at or at == code and record.entry == entry then return false end
  if is_final(at) then return true end
  if at_stream(at) then return read_entry(at, record.entry) and true end
  return call('ZSCORE', K[at .. '_' .. record.priority], at == 'held' and held_as(record) or record.listed) and true
end

-- Out of this entry, for the run is elsewhere, or has ended.
local function forget(record, code, entry, m)
  local final = is_final(record.at)
  if final then
    free_place(m)
    call('SREM', K.cancelled, m.id)
  end
  acknowledge(code, entry)
  if not final then return end
  if is_uncounted(record.token, code .. '/' .. entry, record.entry == entry) then
    call('HINCRBY', K.books, record.at, 1)
  end
  call('PEXPIRE', K.run .. m.id, A.ttl, 'NX')
end

local function rescue(code, entry, m, owner)
  free_place(m)
  m.losses = m.losses + 1
  count_delivery(m)
  m.owners = m.owners and (m.owners .. ' ' .. owner) or owner
  local fate = 'returned'
  if call('SISMEMBER', K.cancelled, m.id) == 1 then
    fate = 'aborted'
    abort(m, 'cancel', 'cancelled', A.ttl)
    call('SREM', K.cancelled, m.id)
  elseif m.losses >= (tonumber(m.deliveries) or tonumber(A.max_deliveries)) then
    fate = 'dead'
    die(m, 'lost_too_often', now)
  else
    put_back(m, 'b')
    ring()
  end
  acknowledge(code, entry)
  if fate == 'aborted' then call('HINCRBY', K.books, fate, 1) end
  return fate
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
local expired = call('ZRANGEBYSCORE', K.leases, '-inf', now, 'WITHSCORES', 'LIMIT', 0, A.count)
for i = 1, #expired, 2 do
  local code, entry = string.match(expired[i], '^(%a%a)/(.+)$')
  local m = read_entry(code, entry)
  local record = m and run_of(record_of(m.id))
  if not m then
    acknowledge(code, entry)
  elseif is_elsewhere(record, code, entry) then
    forget(record, code, entry, m)
  else
    local pending = call('XPENDING', stream(code), 'fluid', entry, entry, 1)
    local owner = pending[1] and pending[1][2] or ''
    local why = expired[i + 1] == '0' and 'stranded' or ''
    local fate = rescue(code, entry, m, owner)
    answer[#answer + 1] = {fate, owner, why, flat(m)}
    to_keep[#to_keep + 1] = {fate, owner, why, brief(m)}
  end
end
call('HSET', K.upkeep, 'rescued', now, 'rescue_nonce', A.nonce, 'rescue_answer', cmsgpack.pack(to_keep))
return answer
