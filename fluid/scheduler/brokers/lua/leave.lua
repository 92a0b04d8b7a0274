-- leave: a consumer that has settled everything goes, and nothing of it stays.
-- KEYS: STREAMS, consumers, seen, claims
-- ARGV: consumer
-- RETURNS: 1 if it has gone, 0 if something is still pending for it.
-- TWICE: who has gone has gone.

return leave(A.consumer, CODES) and 1 or 0
