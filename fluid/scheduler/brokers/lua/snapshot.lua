-- snapshot: the queue as it is at one instant; its cost does not depend on the backlog.
-- KEYS: STREAMS, SCHEDULED, HELD, DEAD, books, claims, paused
-- ARGV:
-- RETURNS: now, paused, paused tasks, totals, then for each stream in order: waiting, pending, when its oldest waiting run became
--   ready (-1: none); then for each priority: scheduled, held, dead, when its oldest overdue run fell due (-1: none).
-- TWICE: it only reads.

local now = clock()
local answer = {now, call('HEXISTS', K.claims, '*paused'), call('SMEMBERS', K.paused), call('HGETALL', K.books)}

for i = 1, 12 do
  local key = KEYS[i]
  local groups = call('XINFO', 'GROUPS', key)
  if not groups[1] then return redis.error_reply('NOGROUP ' .. key) end
  local group = map(groups[1])
  local first = call('XRANGE', key, '(' .. group['last-delivered-id'], '+', 'COUNT', 1)[1]
  answer[#answer + 1] = call('XLEN', key) - group.pending
  answer[#answer + 1] = group.pending
  answer[#answer + 1] = first and tonumber(run_of(first[2]).ready) or -1
end

for _, letter in ipairs(LETTERS) do
  local head = call('ZRANGE', K['scheduled_' .. letter], 0, 0)[1]
  local due = head and instant_in(head)
  answer[#answer + 1] = call('ZCARD', K['scheduled_' .. letter])
  answer[#answer + 1] = call('ZCARD', K['held_' .. letter])
  answer[#answer + 1] = call('ZCARD', K['dead_' .. letter])
  answer[#answer + 1] = due and due <= now and due or -1
end
return answer
