-- claim: as many runs as there are free slots, most urgent first, under a lease for this consumer.
-- KEYS: STREAMS, SCHEDULED, HELD, bell, books, leases, claims, consumers, seen, limits, paused, running, rate, cancelled, run
-- ARGV: consumer, nonce, slots, lease, suspects, version, cursor, awake, names of (held task)
-- RETURNS: nothing when the last sign of life is a lease old: it shall ask again, awake. Else now, the total of
--   accepted runs, milliseconds until the next run is due (-1: none), 1 if there may be more to claim, names of held
--   tasks after the cursor, runs moved aside (why: limit, rate or paused; fields), then each run: stream code,
--   entry id, fields, among them `cancelled` when it shall be.
-- TWICE: the tokens of the last claim are kept with its nonce; the same nonce answers the same runs.
--   Whoever is refused has nothing, and is refused again.

local now = clock()
local kept = call('HMGET', K.claims, A.consumer, A.consumer .. '*stopping', '*paused')
-- an answer that was lost is told again, whatever was asked meanwhile
local again = kept[1] and string.sub(kept[1], 1, #A.nonce + 1) == A.nonce .. ' '
local accepted = tonumber(call('HGET', K.books, 'accepted') or 0)
if not again and (kept[2] or kept[3]) then return {now, accepted, -1, 0, {}, {}} end

-- Whoever was stopped while this waited at the bell can run nothing: the token is another's. Awake, it asks again.
if A.awake == '1' then
  call('ZADD', K.seen, 'XX', now, A.consumer)
elseif not again then
  local seen = call('ZSCORE', K.seen, A.consumer)
  if seen and now - seen >= tonumber(A.lease) then
    ring()
    return {}
  end
end

local runs, leases, tokens, aside = {}, {}, {}, {}
local free = tonumber(A.slots)
-- how many entries it may look at, for those over a limit are moved on the way
local looks = 4 * free + 64
local failure
local there_is = seldom(K.limits, K.paused, K.cancelled, K.scheduled_h, K.scheduled_m, K.scheduled_l, K.held_h, K.held_m, K.held_l)
local limited = there_is(K.limits)
local paused = {}
if there_is(K.paused) then
  for _, task in ipairs(call('SMEMBERS', K.paused)) do paused[task] = true end
end

local function move_aside(code, entry, m, why, move, to)
  local ended, uncounted = other_end(m.id, code, entry)
  if not ended then
    move(m, to, '')
    aside[#aside + 1] = {why, flat(m)}
  end
  call('XDEL', stream(code), entry)
  call('XACK', stream(code), 'fluid', entry)
  if ended then call('PEXPIRE', K.run .. m.id, 60000, 'NX') end
  if uncounted then call('HINCRBY', K.books, ended, 1) end
end

-- At most `count` starts in any `period`: the turns are kept, and each run gets the next one that is free.
local function turn_of(m, count, period)
  local key = K.rate .. m.task
  local turn = now
  if call('LLEN', key) >= count then turn = math.max(now, call('LINDEX', key, 0) + period) end
  call('RPUSH', key, turn)
  call('LTRIM', key, -count, -1)
  call('PEXPIRE', key, turn - now + period)
  return turn
end

-- Whether its task, and the limits of that, let this run start now; if not, it is moved aside.
local function may_start(code, entry, fields)
  local m = run_of(fields)
  if paused[m.task] then
    free_place(m)
    m.paced = nil
    move_aside(code, entry, m, 'paused', hold, 'paused')
    return false
  end
  local most, count, period = limit_of(m.task)
  if not most then return true end
  local needs_place = most > 0 and call('SISMEMBER', places(m), m.id) == 0
  if needs_place and call('SCARD', places(m)) >= most then
    -- it has to wait for a place, and then for a new turn: many that kept theirs would start at once
    m.paced = nil
    move_aside(code, entry, m, 'limit', hold, 'limit ' .. (m.group or ''))
    return false
  end
  if count > 0 and m.paced ~= '1' then
    local turn = turn_of(m, count, period)
    if turn > now then
      -- a place that it was given is kept for it meanwhile
      m.paced = '1'
      move_aside(code, entry, m, 'rate', schedule, turn)
      return false
    end
  end
  if needs_place then call('SADD', places(m), m.id) end
  return true
end

local function hand_out(code, entry)
  local token = code .. '/' .. entry[1]
  runs[#runs + 1] = {code, entry[1], entry[2]}
  leases[#leases + 1] = now + A.lease
  leases[#leases + 1] = token
  tokens[#tokens + 1] = token
  free = free - 1
end

local function read(code, count)
  while count > 0 and looks > 0 do
    local answer = redis.pcall('XREADGROUP', 'GROUP', 'fluid', A.consumer, 'COUNT', count, 'STREAMS', stream(code), '>')
    if not answer then return end
    if answer.err then
      -- what is in hand already must get its lease
      failure = answer
      return
    end
    local entries = answer[1][2]
    for _, entry in ipairs(entries) do
      if not (limited or next(paused)) or may_start(code, entry[1], entry[2]) then
        hand_out(code, entry)
        count = count - 1
      end
    end
    looks = looks - #entries
  end
end

-- Due runs become ready in the order in which they fell due; bounded, and there is no other promoter.
local function promote()
  local next_due = -1
  for _, letter in ipairs(LETTERS) do
    local waiting = K['scheduled_' .. letter]
    local head = call('ZRANGE', waiting, 0, 0)[1]
    if head and instant_in(head) <= now then
      local due = call('ZRANGEBYLEX', waiting, '-', '(' .. in_time(now + 1), 'LIMIT', 0, 100)
      for _, member in ipairs(due) do
        local m = run_at('scheduled', member)
        if m then let_out(way_back(m, 'r'), m) end
      end
      call('ZREM', waiting, unpack(due))
      head = call('ZRANGE', waiting, 0, 0)[1]
    end
    if head then
      local left = math.max(0, instant_in(head) - now)
      if next_due < 0 or left < next_due then next_due = left end
    end
  end
  return next_due
end

-- This consumer's own model of a task, once it has told it.
local own
local function own_model(task)
  if not own then
    local about = call('HGET', K.consumers, A.consumer)
    own = about and cjson.decode(about).models or {}
  end
  return own[task]
end

-- Held runs of a task that is known here, at most so many: those in a version that can be read here, and those
-- whose parameters were not tried on the model that is here.
local function held_for_us(held, task, count)
  local found = {}
  local function add(first, last)
    for _, member in ipairs(call('ZRANGEBYLEX', held, '[' .. first, '(' .. last, 'LIMIT', 0, count - #found)) do
      found[#found + 1] = member
    end
  end
  for _, why in ipairs({'unknown_task ', 'newer_message '}) do
    local first = task .. '\0' .. why
    add(first, first .. by_version(A.version) .. '\1')
  end
  for _, why in ipairs(whys(held, task, 'invalid_params')) do
    local version, tried = string.match(why, '^%S+ (%d+) (.+)$')
    local model = own_model(task)
    if model and tonumber(version) <= tonumber(A.version) and not string.find(tried, model, 1, true) then
      add(task .. '\0' .. why .. '\0', task .. '\0' .. why .. '\1')
    end
  end
  return found
end

-- A held run that this consumer can take goes straight into its hands, through a stream where nothing waits,
-- so that no consumer that cannot take it sees it on the way.
local function release(letter, task)
  local held, code = K['held_' .. letter], 'd' .. letter
  local found = held_for_us(held, task, free)
  if #found == 0 then return end
  local groups = redis.pcall('XINFO', 'GROUPS', stream(code))
  if not groups[1] then
    -- nobody else would ever look there
    failure = redis.error_reply('NOGROUP ' .. stream(code))
    return
  end
  local moved = 0
  for _, member in ipairs(found) do
    local m = run_at('held', member)
    if m and tonumber(m.losses) >= 2 then
      let_out(way_back(m, 'b'), m)
    elseif m then
      let_out(code, m)
      moved = moved + 1
    end
    call('ZREM', held, member)
  end
  read(code, moved)
end

-- A few names of tasks that have held runs, from the cursor on and round again.
local function held_tasks()
  local names, seen = {}, {}
  for _, from in ipairs({A.cursor, ''}) do
    for _, letter in ipairs(LETTERS) do
      local after = from == '' and '-' or ('(' .. from .. '\1')
      for _ = 1, 8 do
        local member = call('ZRANGEBYLEX', K['held_' .. letter], after, '+', 'LIMIT', 0, 1)[1]
        if not member then break end
        local name = string.match(member, '^([^%z]+)')
        if not seen[name] then
          seen[name] = true
          names[#names + 1] = name
        end
        after = '(' .. name .. '\1'
      end
    end
    if #names >= 8 then break end
  end
  return names
end

local next_due, names = -1, {}
if again then
  for code, entry in string.gmatch(kept[1], '(%a%a)/(%d+%-%d+)') do
    if call('ZSCORE', K.leases, code .. '/' .. entry) then
      hand_out(code, call('XRANGE', stream(code), entry, entry)[1])
    end
  end
  next_due = 0
else
  if there_is(K.scheduled_h, K.scheduled_m, K.scheduled_l) then next_due = promote() end
  local any_held = there_is(K.held_h, K.held_m, K.held_l)
  local suspects = tonumber(A.suspects)
  if any_held then
    for i = REST + 1, #ARGV do
      -- more than one move could let go when it was resumed
      if not paused[ARGV[i]] then let_go(ARGV[i], 'paused', 100) end
    end
  end
  for _, letter in ipairs(LETTERS) do
    if any_held then
      for i = REST + 1, #ARGV do
        if free > 0 and looks > 0 then release(letter, ARGV[i]) end
      end
    end
    if suspects > 0 and free > 0 then
      local before = free
      read('s' .. letter, 1)
      suspects = suspects - (before - free)
    end
    read('b' .. letter, free)
    read('r' .. letter, free)
    if free == 0 then break end
  end
  if any_held then names = held_tasks() end
end

if failure and #runs == 0 then return failure end
if #runs > 0 then
  -- the wish to cancel a run that was running stands when it was handed back
  if there_is(K.cancelled) then
    for _, run in ipairs(runs) do
      local fields = run[3]
      if call('SISMEMBER', K.cancelled, map(fields).id) == 1 then
        fields[#fields + 1], fields[#fields + 2] = 'cancelled', '1'
      end
    end
  end
  call('ZADD', K.leases, unpack(leases))
  call('HSET', K.claims, A.consumer, A.nonce .. ' ' .. table.concat(tokens, ' '))
end
-- It will not wait: whatever is left, or falls due, needs another one awake.
local more = free <= 0 or looks <= 0
if more then ring() end
return {now, accepted, next_due, more and 1 or 0, names, aside, unpack(runs)}
