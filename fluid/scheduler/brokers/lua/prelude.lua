-- prelude: what the moves share. It comes before each of them, after K (keys by name), A (arguments
-- by name) and REST (how many named arguments there are; those of a list follow).
--
-- A run's fields travel together: as a stream's entry while the run is in a stream, in its record
-- (K.run .. id) while it is not. `at` in the record says which: a stream code, `scheduled`, `held`,
-- `dead`, or the final state. Of a success nothing else is kept but its token and its outcome: they are one
-- string, written in one go with its end.
--
-- A server can come back with half a move. So a run is put where it goes before it leaves where it was, gives back
-- its place of a limit before that, and its end is counted after. What half a move leaves is then a run in two
-- places: one that its record names, and one that every move tells by that, and that `rescue` or `sweep` removes.

local call = redis.call
local LETTERS = {'h', 'm', 'l'}
local FIELDS = {'id', 'task', 'message', 'queued'}
-- What nearly every run has alike is not written.
local USUAL = {{'priority', 'm'}, {'version', '1'}, {'failures', '0'}, {'losses', '0'}}
local SELDOM = {'deliveries', 'unique', 'owners', 'group', 'paced', 'delivery', 'tried'}

local function clock()
  local t = call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local function map(flat)
  local m = {}
  for i = 1, #flat, 2 do m[flat[i]] = flat[i + 1] end
  return m
end

local function flat(m)
  local f = {}
  local function add(name)
    f[#f + 1] = name
    f[#f + 1] = m[name]
  end
  for _, name in ipairs(FIELDS) do add(name) end
  for _, usual in ipairs(USUAL) do
    if tostring(m[usual[1]]) ~= usual[2] then add(usual[1]) end
  end
  if tonumber(m.ready) ~= tonumber(m.queued) then add('ready') end
  for _, name in ipairs(SELDOM) do
    if m[name] and m[name] ~= '' then add(name) end
  end
  return f
end

-- A run from what was written of it; without an id when that is none.
local function run_of(written)
  local m = map(written)
  if m.id then
    for _, usual in ipairs(USUAL) do m[usual[1]] = m[usual[1]] or usual[2] end
    m.ready = m.ready or m.queued
  end
  return m
end

-- All that the record tells, as `HGETALL` answers.
local function record_of(id)
  local told = redis.pcall('HGETALL', K.run .. id)
  if not told.err then return told end
  local token, outcome = string.match(call('GET', K.run .. id), '^(%S*) (.*)$')
  return {'at', 'success', 'token', token, 'reason', '', 'outcome', outcome}
end

-- Where it is by its record, or how it ended; false without one.
local function at_of(id)
  local at = redis.pcall('HGET', K.run .. id, 'at')
  return at and (at.err and 'success' or at)
end

local function end_well(id, token, outcome, ttl)
  call('SET', K.run .. id, token .. ' ' .. outcome, 'PX', ttl)
end

-- Asks whether any of these keys is there: whatever is seldom there is looked for once, all together.
local function seldom(...)
  local some = call('EXISTS', ...) > 0
  return function(...) return some and call('EXISTS', ...) > 0 end
end

local function stream(code) return K['stream_' .. code] end

local function at_stream(at) return at and #at == 2 end

-- Something can be claimed: one token in the bell wakes one idle consumer.
local function ring()
  if call('LLEN', K.bell) == 0 then call('RPUSH', K.bell, '1') end
end

-- Into a stream, as a new entry, hence under a new token.
local function put(code, m)
  local entry = call('XADD', stream(code), '*', unpack(flat(m)))
  call('HSET', K.run .. m.id, 'at', code, 'entry', entry)
  return entry
end

-- Its body was called, and it will be delivered once more.
local function count_delivery(m) m.delivery = (m.delivery or 1) + 1 end

-- Where it goes back to, to be claimed. One that was lost twice goes the suspects' way, whatever held it meanwhile.
local function way_back(m, lane) return (tonumber(m.losses) >= 2 and 's' or lane) .. m.priority end

local function put_back(m, lane) put(way_back(m, lane), m) end

-- From its record into a stream.
local function let_out(code, m)
  put(code, m)
  if m.why then call('HDEL', K.run .. m.id, 'why', 'since', 'reason') end
  call('HDEL', K.run .. m.id, 'priority', 'version', 'failures', 'losses', 'ready', 'listed', unpack(SELDOM))
  call('HDEL', K.run .. m.id, unpack(FIELDS))
end

-- Out of every stream, into the run's own record, with what is told of it besides.
local function keep(m, at, besides)
  local fields = flat(m)
  for name, value in pairs(besides) do
    fields[#fields + 1] = name
    fields[#fields + 1] = value
  end
  call('HSET', K.run .. m.id, 'at', at, unpack(fields))
end

local function is_final(at) return at == 'success' or at == 'failure' or at == 'aborted' end

-- Failed, dead and scheduled runs are listed by time, with what they are looked for by, so that those that are
-- not meant need not be opened. All scores are 0: members are in order by themselves.
local function in_time(instant) return string.format('%015d', math.min(instant, 999999999999999)) end

local function listed(m, instant, reason)
  return in_time(instant) .. '\0' .. m.task .. '\0' .. reason .. '\0' .. m.id
end

local function instant_in(member) return tonumber(string.sub(member, 1, 15)) end

local function id_in(member) return string.match(member, '[^%z]+$') end

-- Into a list; the record has to say under what it is there.
local function list(name, m, instant, reason)
  local member = listed(m, instant, reason)
  call('ZADD', K[name], 0, member)
  return member
end

local function held_as(m) return m.task .. '\0' .. m.why .. '\0' .. m.since .. '\0' .. m.id end

-- The run that a list's member stands for; nil when its record says that it is not there.
local function run_at(at, member)
  local m = run_of(record_of(id_in(member)))
  if m.at == at and member == (at == 'held' and held_as(m) or m.listed) then return m end
end

local function read_entry(code, entry)
  local found = call('XRANGE', stream(code), entry, entry)
  return found[1] and run_of(found[1][2])
end

-- Due later: the wait is kept here, never in a process. Rings when it became the earliest, so that
-- a waiting consumer learns of it.
local function schedule(m, due, reason)
  local member = list('scheduled_' .. m.priority, m, due, reason)
  keep(m, 'scheduled', {listed = member})
  if call('ZRANGE', K['scheduled_' .. m.priority], 0, 0)[1] == member then ring() end
end

-- Moved aside until what `why` names has changed. Members sort by task, then why, then age, so that
-- the next one to be let go is found without a search.
local function hold(m, why)
  m.why = why
  m.since = string.format('%013d', m.ready)
  call('ZADD', K['held_' .. m.priority], 0, held_as(m))
  keep(m, 'held', {why = why, since = m.since, reason = string.match(why, '^%S*')})
end

-- A message version as held members are sorted by, behind why they are held.
local function by_version(version) return string.format('%06d', version) end

-- The runs that have one of the places of a limit: of the task, or of the task and a key.
local function places(m)
  return K.running .. m.task .. (m.group and ':' .. m.group or '')
end

local function limit_of(task)
  local most, count, period = string.match(call('HGET', K.limits, task) or '', '^(%d+) (%d+) (%d+)$')
  return tonumber(most), tonumber(count), tonumber(period)
end

-- Held runs of a task are ready again, the oldest of the most urgent first, and at most so many of them. One
-- that waited for a place gets it at once, reserved, so that no later arrival can take it.
local function let_go(task, why, most)
  local first = '[' .. task .. '\0' .. why .. '\0'
  local released = 0
  for _, letter in ipairs(LETTERS) do
    local held = K['held_' .. letter]
    for _, member in ipairs(call('ZRANGEBYLEX', held, first, first .. '\255', 'LIMIT', 0, most - released)) do
      local m = run_at('held', member)
      if m then let_out(way_back(m, 'b'), m) end
      call('ZREM', held, member)
      if m and string.sub(why, 1, 6) == 'limit ' then call('SADD', places(m), m.id) end
      released = released + 1
    end
  end
  if released > 0 then ring() end
  return released
end

-- Why runs of a task are held, of those that begin with this word: `limit a`, `limit b`.
local function whys(held, task, word)
  local after = '[' .. task .. '\0' .. word .. ' '
  local last = after .. '\255'
  local found = {}
  while true do
    local member = call('ZRANGEBYLEX', held, after, last, 'LIMIT', 0, 1)[1]
    if not member then return found end
    local why = string.match(member, '^[^%z]*%z([^%z]*)')
    found[#found + 1] = why
    after = '(' .. task .. '\0' .. why .. '\1'
  end
end

local function free_place(m)
  local most = limit_of(m.task)
  if not most or call('SISMEMBER', places(m), m.id) == 0 then return end
  if most == 0 or call('SCARD', places(m)) <= most then let_go(m.task, 'limit ' .. (m.group or ''), 1) end
  call('SREM', places(m), m.id)
end

-- A run that the broker has not seen: ready now, or scheduled.
local function accept(m, due, now)
  m.queued = now
  m.failures = 0
  m.losses = 0
  m.ready = math.max(due, now)
  if due > now then
    schedule(m, due, '')
  else
    put('r' .. m.priority, m)
    return true
  end
end

-- A unique key is free, ours, or that of an open run, which is answered. One whose run is final, dead or
-- without a record is taken over.
local function take_unique(unique, id)
  local owner = call('HGET', K.unique, unique)
  local at = owner and at_of(owner)
  if at and owner ~= id and at ~= 'dead' and not is_final(at) then
    return owner
  end
  call('HSET', K.unique, unique, id)
end

local function free_unique(unique, id)
  if unique and unique ~= '' and call('HGET', K.unique, unique) == id then call('HDEL', K.unique, unique) end
end

-- Whether somebody waited for the end of this run; who did is told.
local function tell_who_waits(id)
  if call('ZREM', K.waited, id) == 0 then return false end
  call('PUBLISH', K.done, id)
  return true
end

-- What is left of a run that was cancelled: that, for ttl milliseconds, told to whoever waits.
local function abort(m, token, reason, ttl)
  keep(m, 'aborted', {token = token, reason = reason, outcome = ''})
  if tell_who_waits(m.id) then ttl = math.max(60000, ttl) end
  call('PEXPIRE', K.run .. m.id, ttl)
  free_unique(m.unique, m.id)
end

-- An end is counted when the run has left its last place: where it was settled, or was found to be cancelled, which
-- its record names. Whoever finds it there still has to count it.
local function is_uncounted(token, here, named)
  return token == here or named and token and string.sub(token, 1, 6) == 'cancel'
end

-- How the run of this entry has ended, if otherwise than here, and whether that has still to be counted.
local function other_end(id, code, entry)
  local record = map(record_of(id))
  local here = code .. '/' .. entry
  if is_final(record.at) and record.token ~= here then
    return record.at, is_uncounted(record.token, here, record.entry == entry)
  end
end

-- The last answer to somebody is kept with its nonce, and told again when it was lost on its way. It begins with
-- the instant, how many answers there were, and the total of accepted runs. Whoever is told of no more answers than
-- before, or of a lower total, knows that the server has gone back in time.
local function begin_answer(now, known)
  return {now, known + 1, tonumber(call('HGET', K.books, 'accepted') or 0)}
end

-- Nearly always it is one more than its caller knows of: what is seldom so costs a second look. One that has known of
-- more than there are is told none, and again none, until it has heard that.
local function remember(key, nonce, answer, milliseconds)
  local function write(...) return call('SET', key, cmsgpack.pack({nonce, answer}), 'PX', milliseconds, ...) end
  local last = write('GET')
  local had = last and cmsgpack.unpack(last)[2][2] or 0
  local count = had >= answer[2] - 1 and had + 1 or 0
  if count ~= answer[2] then
    answer[2] = count
    write()
  end
end

local function kept_answer(key, nonce)
  local kept = call('GET', key)
  if not kept then return nil end
  local of, answer = unpack(cmsgpack.unpack(kept))
  return of == nonce and answer or nil
end

-- No verdict is possible: it waits for a person, which is told to whoever waits for its end.
local function die(m, reason, now)
  keep(m, 'dead', {reason = reason, listed = list('dead_' .. m.priority, m, now, reason)})
  free_unique(m.unique, m.id)
  tell_who_waits(m.id)
end

-- The models that consumers alive have of their tasks, by task: a set of fingerprints.
local known
local function models()
  if not known then
    known = {}
    for _, about in ipairs(call('HVALS', K.consumers)) do
      for task, model in pairs(cjson.decode(about).models or {}) do
        known[task] = known[task] or {}
        known[task][model] = true
      end
    end
  end
  return known
end

-- Whether a consumer alive has a model of the task that is not among those tried.
local function untried(task, tried)
  for model in pairs(models()[task] or {}) do
    if not string.find(tried, model, 1, true) then return true end
  end
  return false
end

-- All that is kept of a run: its record, its entry's fields, when its lease runs out (-1: not leased), its owner.
local function kept_of(id)
  local record = record_of(id)
  local m = map(record)
  if not at_stream(m.at) then return record, {}, -1, '' end
  local found = call('XRANGE', stream(m.at), m.entry, m.entry)[1]
  local expiry = call('ZSCORE', K.leases, m.at .. '/' .. m.entry)
  local pending = expiry and call('XPENDING', stream(m.at), 'fluid', m.entry, m.entry, 1)[1]
  return record, found and found[2] or {}, expiry and tonumber(expiry) or -1, pending and pending[2] or ''
end

local function acknowledge(code, entry)
  call('XDEL', stream(code), entry)
  call('XACK', stream(code), 'fluid', entry)
  call('ZREM', K.leases, code .. '/' .. entry)
end

-- A consumer's entries in the groups go only when nothing is pending for it, for that would strand it.
local function leave(consumer, codes)
  for _, code in ipairs(codes) do
    if #call('XPENDING', stream(code), 'fluid', '-', '+', 1, consumer) > 0 then return false end
  end
  for _, code in ipairs(codes) do call('XGROUP', 'DELCONSUMER', stream(code), 'fluid', consumer) end
  call('HDEL', K.consumers, consumer)
  call('ZREM', K.seen, consumer)
  call('HDEL', K.claims, consumer, consumer .. '*stopping')
  return true
end
