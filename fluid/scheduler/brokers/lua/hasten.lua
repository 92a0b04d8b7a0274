-- hasten: scheduled runs are due now, whatever they wait for: a delay, the next attempt, or their turn.
-- KEYS: SCHEDULED, bell, run
-- ARGV: runs of (id)
-- RETURNS: how many of these are scheduled.
-- TWICE: what is due is due; a run that was claimed meanwhile is scheduled no more, and left alone.

local now = clock()
local count = 0
for i = REST + 1, #ARGV do
  local record = K.run .. ARGV[i]
  local m = run_of(record_of(ARGV[i]))
  if m.at == 'scheduled' then
    count = count + 1
    if instant_in(m.listed) > now then
      local member = list('scheduled_' .. m.priority, m, now, string.match(m.listed, '([^%z]*)%z[^%z]*$'))
      call('HSET', record, 'listed', member, 'ready', now)
      call('ZREM', K['scheduled_' .. m.priority], m.listed)
    end
  end
end
if count > 0 then ring() end
return count
