-- pause: nothing is claimed from this queue any more, by anyone; or it is again.
-- KEYS: bell, claims
-- ARGV: on
-- RETURNS: 1 if that changed anything, else 0.
-- TWICE: paused is paused.

if A.on == '1' then return call('HSET', K.claims, '*paused', 1) end
local changed = call('HDEL', K.claims, '*paused')
ring()
return changed
