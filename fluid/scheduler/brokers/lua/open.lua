-- open: the streams and their groups exist from 0, so that no count ever meets a missing one.
-- KEYS: STREAMS
-- ARGV:
-- RETURNS: how many groups were made.
-- TWICE: what exists is left alone.

local made = 0
for _, key in ipairs(KEYS) do
  local answer = redis.pcall('XGROUP', 'CREATE', key, 'fluid', '0', 'MKSTREAM')
  if answer.err then
    if not string.find(answer.err, 'BUSYGROUP') then return answer end
  else
    made = made + 1
  end
end
return made
