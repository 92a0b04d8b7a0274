-- enqueue: runs into the queue, ready or scheduled, each unless its id or its unique key is taken.
-- KEYS: stream_rh, stream_rm, stream_rl, scheduled_h, scheduled_m, scheduled_l, bell, books, unique, run
-- ARGV: replayed, runs of (id, task, priority, version, deliveries, unique, group, due, message)
-- RETURNS: now, then for each run 1 accepted, 0 already here, or the id of the run that has its unique key.
-- TWICE: a run id is accepted once while its record lives.

local now = clock()
local answer = {now}
local accepted, ready = 0, false
local records = {}
for i = REST + 1, #ARGV, 9 do records[#records + 1] = K.run .. ARGV[i] end
local all_new = call('EXISTS', unpack(records)) == 0

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
  if not all_new and call('EXISTS', K.run .. m.id) == 1 then
    verdict = 0
  elseif m.unique ~= '' then
    local owner = call('HGET', K.unique, m.unique)
    local where = owner and call('HGET', K.run .. owner, 'at')
    if where and where ~= 'dead' and where ~= 'success' and where ~= 'failure' and where ~= 'aborted' then
      verdict = owner
    else
      call('HSET', K.unique, m.unique, m.id)
    end
  end
  if verdict == 1 then
    accepted = accepted + 1
    if accept(m, due, now) then ready = true end
  end
  answer[#answer + 1] = verdict
end

if accepted > 0 then
  call('HINCRBY', K.books, 'accepted', accepted)
  if A.replayed == '1' then call('HINCRBY', K.books, 'replayed', accepted) end
end
if ready then ring() end
return answer
