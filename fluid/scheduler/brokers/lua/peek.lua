-- peek: where runs are, and why, many at a time.
-- KEYS: run
-- ARGV: runs of (id)
-- RETURNS: for each run: where it is, its task, its reason; nothing where no record is kept.
-- TWICE: it only reads.

local answer = {}
for i = REST + 1, #ARGV do answer[#answer + 1] = call('HMGET', K.run .. ARGV[i], 'at', 'task', 'reason') end
return answer
