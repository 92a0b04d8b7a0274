-- replay: dead runs are ready again, as themselves, with all their attempts before.
-- KEYS: STREAMS, DEAD, bell, books, unique, run
-- ARGV: nonce, runs of (id)
-- RETURNS: for each run: replayed | elsewhere (it is not dead) | unknown; or in a list of one the run that has its
--   unique key.
-- TWICE: the nonce is kept in the record, and is told again that it did.

local now = clock()

local function replay(id)
  local m = run_of(record_of(id))
  if not m.at then return 'unknown' end
  if m.replay == A.nonce then return 'replayed' end
  if m.at ~= 'dead' then return 'elsewhere' end
  if m.unique and m.unique ~= '' then
    local owner = take_unique(m.unique, m.id)
    if owner then return {owner} end
  end
  m.failures = 0
  m.losses = 0
  m.paced = nil
  m.tried = nil
  m.ready = now
  let_out('b' .. m.priority, m)
  call('HSET', K.run .. m.id, 'replay', A.nonce)
  call('HDEL', K.run .. m.id, 'reason', 'outcome', 'token')
  call('ZREM', K['dead_' .. m.priority], m.listed)
  call('HINCRBY', K.books, 'replayed', 1)
  ring()
  return 'replayed'
end

local answer = {}
for i = REST + 1, #ARGV do answer[#answer + 1] = replay(ARGV[i]) end
return answer
