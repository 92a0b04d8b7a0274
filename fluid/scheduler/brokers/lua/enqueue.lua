-- enqueue: runs into the queue, ready or scheduled, each unless its id or its unique key is taken.
-- KEYS: stream_rh, stream_rm, stream_rl, scheduled_h, scheduled_m, scheduled_l, bell, books, unique, flush, run
-- ARGV: producer, nonce, again, keep, count, replays, runs of (id, task, priority, version, deliveries, unique, group, due, message)
-- RETURNS: now, how many answers this producer was given, the total of accepted runs, then
--   for each run 1 ready, 2 scheduled, 0 already here or replayed before, or the id of the run that has its unique key.
-- TWICE: a run id is accepted once while its record lives; a producer's last answer is kept with its nonce for
--   `keep` milliseconds, the longest that it may ask again, and told again.

local now = clock()
local told = A.again == '1' and kept_answer(K.flush .. A.producer, A.nonce)
if told then return told end

local answer = begin_answer(now, A.count)
local accepted, replayed, ready = 0, 0, false
local records = {}
for i = REST + 1, #ARGV, 9 do records[#records + 1] = K.run .. ARGV[i] end
local all_new = call('EXISTS', unpack(records)) == 0
local seen = {}
-- in JSON, for each run: the failed one that it is a replay of, and whether it shall be the only one
local replays = A.replays ~= '' and cjson.decode(A.replays)

local function was_replayed(failed)
  return at_of(failed) == 'failure' and call('HEXISTS', K.run .. failed, 'replayed_as') == 1
end

local function remember_replay(failed, id)
  replayed = replayed + 1
  -- its evidence may have expired, and nothing would remove what is written then
  if at_of(failed) == 'failure' then call('HSET', K.run .. failed, 'replayed_as', id) end
end

for i = REST + 1, #ARGV, 9 do
  local m = {
    id = ARGV[i], task = ARGV[i + 1], priority = ARGV[i + 2], version = ARGV[i + 3],
    deliveries = ARGV[i + 4], unique = ARGV[i + 5], group = ARGV[i + 6], message = ARGV[i + 8],
  }
  local due = ARGV[i + 7]
  if due == '' then due = now
  elseif string.sub(due, 1, 1) == '+' then due = now + string.sub(due, 2)
  else due = tonumber(due) end
  local verdict = 1
  local replay = replays and replays[(i - REST - 1) / 9 + 1]
  if seen[m.id] or not all_new and call('EXISTS', K.run .. m.id) == 1 then
    verdict = 0
  elseif replay and replay[2] and was_replayed(replay[1]) then
    verdict = 0
  elseif m.unique ~= '' then
    verdict = take_unique(m.unique, m.id) or 1
  end
  if verdict == 1 then
    accepted = accepted + 1
    seen[m.id] = true
    if accept(m, due, now) then ready = true else verdict = 2 end
    if replay then remember_replay(replay[1], m.id) end
  end
  answer[#answer + 1] = verdict
end

if accepted > 0 then
  answer[3] = call('HINCRBY', K.books, 'accepted', accepted)
  if replayed > 0 then call('HINCRBY', K.books, 'replayed', replayed) end
end
if ready then ring() end
remember(K.flush .. A.producer, A.nonce, answer, A.keep)
return answer
