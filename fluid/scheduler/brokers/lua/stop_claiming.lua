-- stop_claiming: from now on this consumer's claims answer nothing.
-- KEYS: claims
-- ARGV: consumer
-- RETURNS: 1 if that is new, else 0.
-- TWICE: who has stopped has stopped.

return call('HSET', K.claims, A.consumer .. '*stopping', 1)
