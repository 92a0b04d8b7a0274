-- replay: a dead run is ready again, as itself, with all its attempts before it.
-- KEYS: STREAMS, DEAD, bell, books, unique, run
-- ARGV: id, nonce
-- RETURNS: now, replayed | unique (its unique key is taken, by that run) | elsewhere (it is not dead) | unknown.
-- TWICE: the nonce is kept in the record, and is told again that it did.

local now = clock()
local m = run_of(call('HGETALL', K.run .. A.id))
if not m.at then return {now, 'unknown'} end
if m.replay == A.nonce then return {now, 'replayed'} end
if m.at ~= 'dead' then return {now, 'elsewhere'} end
if m.unique and m.unique ~= '' then
  local owner = take_unique(m.unique, m.id)
  if owner then return {now, 'unique', owner} end
end
call('ZREM', K['dead_' .. m.priority], m.id)
take(m.id)
m.failures = 0
m.losses = 0
m.paced = nil
m.tried = nil
m.ready = now
put('b' .. m.priority, m)
call('HSET', K.run .. m.id, 'replay', A.nonce)
call('HDEL', K.run .. m.id, 'reason', 'outcome', 'token')
call('HINCRBY', K.books, 'replayed', 1)
ring()
return {now, 'replayed'}
