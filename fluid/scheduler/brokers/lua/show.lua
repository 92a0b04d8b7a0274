-- show: everything kept of one run; and, if asked, its end will be told on the channel.
-- KEYS: STREAMS, leases, waited, run
-- ARGV: id, wait
-- RETURNS: now, the record, the entry's fields, when its lease runs out (-1: not leased), its owner.
-- TWICE: it only reads, and being waited for twice is being waited for.

local now = clock()
local record = call('HGETALL', K.run .. A.id)
local m = map(record)
if not at_stream(m.at) then
  if A.wait == '1' and (m.at == 'scheduled' or m.at == 'held') then call('ZADD', K.waited, now, A.id) end
  return {now, record, {}, -1, ''}
end
if A.wait == '1' then call('ZADD', K.waited, now, A.id) end
local found = call('XRANGE', stream(m.at), m.entry, m.entry)[1]
local expiry = call('ZSCORE', K.leases, m.at .. '/' .. m.entry)
local pending = expiry and call('XPENDING', stream(m.at), 'fluid', m.entry, m.entry, 1)[1]
return {now, record, found and found[2] or {}, expiry and tonumber(expiry) or -1, pending and pending[2] or ''}
