-- pause_task: runs of a task are held, each when it would be claimed; or those that are held are ready again.
-- KEYS: stream_bh, stream_bm, stream_bl, stream_sh, stream_sm, stream_sl, HELD, bell, paused, run
-- ARGV: task, on
-- RETURNS: how many held runs were let go; if there are more, claims let them go.
-- TWICE: paused is paused, and a held run is let go once.

if A.on == '1' then
  call('SADD', K.paused, A.task)
  return 0
end
call('SREM', K.paused, A.task)
return let_go(A.task, 'paused', 500)
