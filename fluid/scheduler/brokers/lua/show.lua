-- show: everything kept of one run; and, if asked, its end will be told on the channel.
-- KEYS: STREAMS, leases, waited, run
-- ARGV: id, wait
-- RETURNS: the record, the entry's fields, when its lease runs out (-1: not leased), its owner.
-- TWICE: it only reads, and being waited for twice is being waited for.

local at = A.wait == '1' and at_of(A.id)
if at_stream(at) or at == 'scheduled' or at == 'held' then call('ZADD', K.waited, clock(), A.id) end
return {kept_of(A.id)}
