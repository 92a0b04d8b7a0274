-- renew: this consumer is alive, and the leases of its runs go on.
-- KEYS: leases, consumers, seen, cancelled
-- ARGV: consumer, lease, about, runs of (token, id)
-- RETURNS: now, then for each run 1 renewed, 0 its lease has gone, or 2 renewed but it shall be cancelled.
-- TWICE: a renewal sets what the one before set.

local now = clock()
local answer = {now}
call('HSET', K.consumers, A.consumer, A.about)
call('ZADD', K.seen, now, A.consumer)
if #ARGV == REST then return answer end

local tokens, ids, renewed = {}, {}, {}
for i = REST + 1, #ARGV, 2 do
  tokens[#tokens + 1] = ARGV[i]
  ids[#ids + 1] = ARGV[i + 1]
end
local leased = call('ZMSCORE', K.leases, unpack(tokens))
local cancelled = call('SMISMEMBER', K.cancelled, unpack(ids))
for n, token in ipairs(tokens) do
  if leased[n] then
    renewed[#renewed + 1] = now + A.lease
    renewed[#renewed + 1] = token
    answer[#answer + 1] = cancelled[n] == 1 and 2 or 1
  else
    answer[#answer + 1] = 0
  end
end
if #renewed > 0 then call('ZADD', K.leases, 'XX', unpack(renewed)) end
return answer
