-- progress: how far a run has come, kept in its record while it is open.
-- KEYS: run
-- ARGV: id, report
-- RETURNS: 1 if the run has a record, else 0.
-- TWICE: a report replaces the one before.

local record = K.run .. A.id
if call('EXISTS', record) == 0 then return 0 end
call('HSET', record, 'progress', A.report)
return 1
