-- settle: outcomes of claimed runs. One counts exactly when its lease, under its very token, is still there.
-- KEYS: STREAMS, SCHEDULED, HELD, DEAD, bell, books, leases, limits, running, consumers, failed, unique, cancelled, waited, reporting, settled, done, run
-- ARGV: caller, nonce, again, keep, count, bound, outcomes of (code, entry, id, kind, reason, delay, ttl, unique, outcome)
-- RETURNS: now, how many answers this caller was given, the total of accepted runs, then
--   for each outcome 1 accepted, 0 refused, or 2 accepted and dead, since no consumer can take what was to be held.
-- TWICE: a caller's last answer is kept with its nonce for `keep` milliseconds, and told again. An accepted
--   token stays in the run's record, and while that lives the same token is accepted again without a move.

local WIDTH = 9
local told = A.again == '1' and kept_answer(K.settled .. A.caller, A.nonce)
if told then return told end

local now = clock()
local answer = begin_answer(now, A.count)
local tokens, ids = {}, {}
for i = REST + 1, #ARGV, WIDTH do
  tokens[#tokens + 1] = ARGV[i] .. '/' .. ARGV[i + 1]
  ids[#ids + 1] = ARGV[i + 2]
end
local leased = call('ZMSCORE', K.leases, unpack(tokens))
local there_is = seldom(K.waited, K.reporting, K.limits, K.cancelled)
local waited = there_is(K.waited) and call('ZMSCORE', K.waited, unpack(ids)) or {}
local reporting = there_is(K.reporting) and call('ZMSCORE', K.reporting, unpack(ids)) or {}

local records = {}
for n, id in ipairs(ids) do records[n] = K.run .. id end
local ended_well = call('MGET', unpack(records))

local limited = there_is(K.limits)
local gone, counts, freed, ended, ended_now, done = {}, {}, {}, {}, {}, {}

local function count(kind) counts[kind] = (counts[kind] or 0) + 1 end

-- Whether the run has ended already, otherwise than here: of two deliveries of one run, one counts. Of most, all that
-- is asked is whether they have ended well.
local function is_over(i, n, kind)
  local well = ended_now[ids[n]] or ended_well[n]
  if well then return string.match(well, '^%S*') ~= tokens[n] end
  if kind == 'success' and string.sub(ARGV[i], 1, 1) == 'r' and not there_is(K.cancelled) then return false end
  local at, uncounted = other_end(ids[n], ARGV[i], ARGV[i + 1])
  if uncounted then count(at) end
  if at then call('PEXPIRE', K.run .. ids[n], ARGV[i + 6], 'NX') end
  return at
end

local function end_run(i, n, kind)
  local outcome = ARGV[i + 8]
  local ttl = waited[n] and math.max(60000, ARGV[i + 6]) or ARGV[i + 6]
  if kind == 'success' and ARGV[i + 4] == '' and not reporting[n] then
    end_well(ids[n], tokens[n], outcome, ttl)
  else
    local record = K.run .. ids[n]
    local m = kind == 'failure' and read_entry(ARGV[i], ARGV[i + 1])
    if m then
      -- the evidence keeps what is needed to look at the run, and to replay it
      local member = list('failed', m, now, ARGV[i + 4])
      keep(m, kind, {listed = member, token = tokens[n], reason = ARGV[i + 4], outcome = outcome})
    else
      call('HSET', record, 'at', kind, 'token', tokens[n], 'reason', ARGV[i + 4], 'outcome', outcome)
    end
    call('PEXPIRE', record, ttl)
    if reporting[n] then call('ZREM', K.reporting, ids[n]) end
  end
  free_unique(ARGV[i + 7], ids[n])
  ended_now[ids[n]] = tokens[n]
  count(kind)
end

-- Parameters that do not fit one model may fit another. It is dead when no consumer alive has one to try.
local function hold_misfit(m, model)
  if not string.find(m.tried or '', model, 1, true) then m.tried = (m.tried and m.tried .. ',' or '') .. model end
  if not untried(m.task, m.tried) then return 'dead' end
  hold(m, 'invalid_params ' .. by_version(m.version) .. ' ' .. m.tried)
  return 'held'
end

-- What became of it: of a run that was to be held, it may be that it is dead.
local function move_run(i, n, kind, m)
  local reason = ARGV[i + 4]
  local record = K.run .. ids[n]
  call('HSET', record, 'token', tokens[n], 'reason', reason, 'outcome', ARGV[i + 8])
  if kind == 'retry' then
    m.failures = m.failures + 1
    count_delivery(m)
    m.paced = nil
    m.ready = now + ARGV[i + 5]
    schedule(m, m.ready, reason)
  elseif kind == 'interrupted' then
    count_delivery(m)
    put_back(m, 'b')
    ring()
  elseif kind == 'held' then
    local model = string.match(reason, '^invalid_params (.+)$')
    if model then kind = hold_misfit(m, model) else hold(m, reason .. ' ' .. by_version(m.version)) end
    ring()
  end
  if kind == 'dead' then die(m, string.match(reason, '^%S*'), now) end
  return kind
end

-- What this very outcome was answered, if it is the last one that the run has had.
local function told_before(n, kind)
  local record = map(record_of(ids[n]))
  if record.token ~= tokens[n] then return 0 end
  return kind == 'held' and record.at == 'dead' and 2 or 1
end

for n = 1, #tokens do
  local i = REST + 1 + (n - 1) * WIDTH
  local kind = ARGV[i + 3]
  if done[tokens[n]] then
    answer[#answer + 1] = done[tokens[n]]
  elseif leased[n] then
    local final = is_final(kind)
    local m = (limited or not final) and read_entry(ARGV[i], ARGV[i + 1])
    if limited and m then free_place(m) end
    local told = 1
    if is_over(i, n, kind) then
      told = 0
    elseif final then
      end_run(i, n, kind)
    elseif not m then
      -- half of this very move was carried out before
      told = told_before(n, kind)
    elseif move_run(i, n, kind, m) ~= kind then
      told = 2
    end
    if final or told == 2 or kind == 'dead' then ended[#ended + 1] = ids[n] end
    if final and waited[n] then
      call('ZREM', K.waited, ids[n])
      call('PUBLISH', K.done, ids[n])
    end
    local code = ARGV[i]
    gone[code] = gone[code] or {}
    table.insert(gone[code], ARGV[i + 1])
    freed[#freed + 1] = tokens[n]
    done[tokens[n]] = told
    answer[#answer + 1] = told
  else
    answer[#answer + 1] = told_before(n, kind)
  end
end

-- the wish to cancel a run stands until it has ended
if #ended > 0 and there_is(K.cancelled) then call('SREM', K.cancelled, unpack(ended)) end
for code, entries in pairs(gone) do
  call('XDEL', stream(code), unpack(entries))
  call('XACK', stream(code), 'fluid', unpack(entries))
  -- its consumer may take another suspect now, and waits at the bell
  if string.sub(code, 1, 1) == 's' and call('XLEN', stream(code)) > 0 then ring() end
end
if #freed > 0 then call('ZREM', K.leases, unpack(freed)) end
for kind, count in pairs(counts) do call('HINCRBY', K.books, kind, count) end
if counts.failure then
  for _ = 1, call('ZCARD', K.failed) - A.bound do
    local member = call('ZPOPMIN', K.failed)[1]
    local id = id_in(member)
    local m = map(record_of(id))
    if m.at == 'failure' and m.listed == member then call('DEL', K.run .. id) end
  end
end
remember(K.settled .. A.caller, A.nonce, answer, A.keep)
return answer
