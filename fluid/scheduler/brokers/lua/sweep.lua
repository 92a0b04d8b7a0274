-- sweep: what half a move has left, when a server came back with it. A delivery without a lease gets one that ran out,
--   so that it is rescued; a run in a list in which it is not, by its record, leaves it; a wish to
--   cancel what has ended goes.
-- KEYS: STREAMS, SCHEDULED, HELD, DEAD, leases, books, cancelled, upkeep, run
-- ARGV: interval, looks, ttl
-- RETURNS: how many deliveries without a lease there were, and how many runs were where they are not by their records.
-- TWICE: one pass an interval in the whole fleet; what has a lease, or is where its record says, is left alone.

local now = clock()
local kept = call('HMGET', K.upkeep, 'swept', 'swept_to')
if kept[1] and now - kept[1] < tonumber(A.interval) then return {0, 0} end

-- Of what there is much a pass sees a part, and the next one goes on behind it.
local cursors = kept[2] and cmsgpack.unpack(kept[2]) or {}
local looks = tonumber(A.looks)
local stranded, doubled = 0, 0

-- A claim and its lease are one move, so that what was delivered has one, or was left by half a move. It is pending, as
-- a rule: so what is not is looked for between, and no message of those that run is read.
local function deliveries(code)
  local groups = redis.pcall('XINFO', 'GROUPS', stream(code))
  local found = {}
  if not groups[1] then return found end
  local function between(first, last)
    for _, entry in ipairs(call('XRANGE', stream(code), first, last, 'COUNT', 10)) do
      found[#found + 1] = code .. '/' .. entry[1]
    end
  end
  local from = cursors[code] and '(' .. cursors[code] or '-'
  local pending = call('XPENDING', stream(code), 'fluid', from, '+', looks)
  for _, about in ipairs(pending) do
    between(from, '(' .. about[1])
    found[#found + 1] = code .. '/' .. about[1]
    from = '(' .. about[1]
  end
  cursors[code] = #pending == looks and pending[looks][1] or nil
  -- where nothing waits, what was not delivered was left behind too
  local direct = string.sub(code, 1, 1) == 'd'
  if not cursors[code] then between(from, direct and '+' or map(groups[1])['last-delivered-id']) end
  return found
end

local function look_into(at, letter)
  local name = at .. '_' .. letter
  local from = cursors[name] and '(' .. cursors[name] or '-'
  local members = call('ZRANGEBYLEX', K[name], from, '+', 'LIMIT', 0, looks)
  for _, member in ipairs(members) do
    local record = K.run .. id_in(member)
    local told = redis.pcall('HMGET', record, 'at', 'listed', 'task', 'why', 'since', 'token')
    local is, listed, task, why, since, token = unpack(told.err and {'success'} or told)
    local named = listed == member
    if why and since then named = named or member == held_as({task = task, why = why, since = since, id = id_in(member)}) end
    if is ~= at or not named then
      doubled = doubled + 1
      call('ZREM', K[name], member)
      if is_final(is) then
        if is_uncounted(token, member, named) then call('HINCRBY', K.books, is, 1) end
        call('PEXPIRE', record, A.ttl, 'NX')
      end
    end
  end
  cursors[name] = #members == looks and members[looks] or nil
end

for _, code in ipairs(CODES) do
  local tokens = deliveries(code)
  local leased = #tokens > 0 and call('ZMSCORE', K.leases, unpack(tokens))
  for n, token in ipairs(tokens) do
    if not leased[n] then
      stranded = stranded + 1
      call('ZADD', K.leases, 0, token)
    end
  end
end
for _, letter in ipairs(LETTERS) do
  for _, at in ipairs({'scheduled', 'held', 'dead'}) do look_into(at, letter) end
end
-- A run whose wish to be cancelled was fulfilled by half leaves its stream, unless somebody runs it: then its outcome is
-- refused.
local function withdraw(id, record)
  for _, code in ipairs(CODES) do
    local m = read_entry(code, record.entry)
    if m and m.id == id then
      local here = code .. '/' .. record.entry
      if call('ZSCORE', K.leases, here) then return false end
      call('XDEL', stream(code), record.entry)
      if is_uncounted(record.token, here, true) then call('HINCRBY', K.books, record.at, 1) end
      call('PEXPIRE', K.run .. id, A.ttl, 'NX')
      doubled = doubled + 1
    end
  end
  return true
end

for _, id in ipairs(call('SRANDMEMBER', K.cancelled, looks)) do
  local record = map(record_of(id))
  local over = not record.at or is_final(record.at)
  if over and (not record.entry or withdraw(id, record)) then call('SREM', K.cancelled, id) end
end
call('HSET', K.upkeep, 'swept', now, 'swept_to', cmsgpack.pack(cursors))
return {stranded, doubled}
