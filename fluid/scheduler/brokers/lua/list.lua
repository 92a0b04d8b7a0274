-- list: from one list, the runs that are wanted, from the first to the last of a range, both as it is ordered by;
--   it looks at no more than so many, and answers no more than most.
-- KEYS: STREAMS, SCHEDULED, HELD, DEAD, leases, failed, run
-- ARGV: name, state, first, last, task, reason, since, till, looks, most
-- RETURNS: up to where it has looked (empty: to the end), then each run: where it is in the list, what `show` answers.
-- TWICE: it only reads.

local MOST_BYTES = 262144
local since, till = tonumber(A.since), tonumber(A.till)
local from_streams = A.state == 'queued' or A.state == 'running'
local newest_first = A.state == 'failure' or A.state == 'dead'
local looks, most = tonumber(A.looks), tonumber(A.most)

-- What of a list is in the range: in a stream, what was delivered is running, and what comes after that is queued.
local function range()
  if from_streams then
    local group = call('XINFO', 'GROUPS', K[A.name])[1]
    if not group then return redis.error_reply('NOGROUP ' .. K[A.name]) end
    local delivered = map(group)['last-delivered-id']
    if A.state == 'running' then return call('XRANGE', K[A.name], A.first, delivered, 'COUNT', looks) end
    local first = A.first == '-' and '(' .. delivered or A.first
    return call('XRANGE', K[A.name], first, '+', 'COUNT', looks)
  end
  return call(newest_first and 'ZREVRANGEBYLEX' or 'ZRANGEBYLEX', K[A.name], A.first, A.last, 'LIMIT', 0, looks)
end

-- Most are told by a glance that they are not wanted.
local glance
if A.state == 'held' then
  glance = A.reason ~= '' and '\0' .. A.reason
elseif A.task ~= '' or A.reason ~= '' then
  glance = (A.task ~= '' and '\0' .. A.task or '') .. (A.reason ~= '' and '\0' .. A.reason or '') .. '\0'
end

-- Where it is in the list, its task, why it is there, since when, its id; nothing of one that is not wanted.
local function read(item)
  if from_streams then
    -- its fields, in the order in which they are written
    local fields = item[2]
    if A.task ~= '' and A.task ~= fields[4] then return end
    local ready = (since or till) and run_of(fields).ready or fields[8]
    return item[1], fields[4], '', ready, fields[2]
  end
  if glance and not string.find(item, glance, 1, true) then return end
  if A.state == 'held' then
    local task, why, instant, id = string.match(item, '^([^%z]*)%z([^%z]*)%z([^%z]*)%z(.*)$')
    return item, task, string.match(why, '^%S*'), instant, id
  end
  local instant, task, reason, id = string.match(item, '^([^%z]*)%z([^%z]*)%z([^%z]*)%z(.*)$')
  return item, task, reason, instant, id
end

local function is_meant(task, reason, instant)
  return (A.task == '' or A.task == task) and (A.reason == '' or A.reason == reason)
    and (not since or tonumber(instant) >= since) and (not till or tonumber(instant) <= till)
end

-- The index of evidence outlives it, and a run with the same id may have come since.
local function is_there(record, item, expiry)
  local m = map(record)
  if from_streams then return at_stream(m.at) and (expiry >= 0) == (A.state == 'running') end
  return m.at == A.state and (not m.listed or m.listed == item)
end

local function size_of(fields)
  local size = 0
  for _, field in ipairs(fields) do size = size + #field end
  return size
end

local items = range()
if items.err then return items end
local answer, size = {''}, 0
for n, item in ipairs(items) do
  local at, task, reason, instant, id = read(item)
  if at and is_meant(task, reason, instant) then
    local record, entry, expiry, owner = kept_of(id)
    if is_there(record, item, expiry) then
      answer[#answer + 1] = {at, record, entry, expiry, owner}
      size = size + size_of(record) + size_of(entry)
      if #answer > most or size > MOST_BYTES then
        if n < #items or n == looks then answer[1] = at end
        return answer
      end
    end
  end
end
if #items == looks then answer[1] = from_streams and items[looks][1] or items[looks] end
return answer
