-- progress: how far a run has come, kept in its record while it is open.
-- KEYS: reporting, run
-- ARGV: id, report
-- RETURNS: 1 if the run has a record, else 0.
-- TWICE: a report replaces the one before.

local at = at_of(A.id)
if not at or at == 'success' then return 0 end
call('HSET', K.run .. A.id, 'progress', A.report)
call('ZADD', K.reporting, clock(), A.id)
return 1
