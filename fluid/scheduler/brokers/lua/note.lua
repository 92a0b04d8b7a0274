-- note: a small value that the fleet agrees on: only who knows the one that stands replaces it.
-- KEYS: notes
-- ARGV: name, before, version, ttl, most, value
-- RETURNS: 1 if it stands, 0 if another one does, -1 if too many notes stand.
-- TWICE: a version that stands already stands; whoever replaced it meanwhile had seen it.

local now = clock()

local function expired(line) return tonumber(string.match(line, '^%S+ (%d+) ')) <= now end

local kept = call('HGET', K.notes, A.name)
local version = ''
if kept and not expired(kept) then version = string.match(kept, '^%S+') end
if version == A.version then return 1 end
if version ~= A.before then return 0 end
if not kept and call('HLEN', K.notes) >= tonumber(A.most) then
  for name, line in pairs(map(call('HGETALL', K.notes))) do
    if expired(line) then call('HDEL', K.notes, name) end
  end
  if call('HLEN', K.notes) >= tonumber(A.most) then return -1 end
end
call('HSET', K.notes, A.name, A.version .. ' ' .. string.format('%.0f', now + A.ttl) .. ' ' .. A.value)
return 1
