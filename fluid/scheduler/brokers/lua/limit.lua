-- limit: how many runs of a task may run at once, and how many may start in a period, in the whole fleet.
-- KEYS: stream_bh, stream_bm, stream_bl, stream_sh, stream_sm, stream_sl, HELD, bell, limits, running, run
-- ARGV: limits of (task, most, count, period)
-- RETURNS: how many held runs the new limits let go; ask again until there are none.
-- TWICE: a limit replaces the one before, and a place is given once.

local released = 0

-- Groups that have held runs, each while it has places.
local function give_places(task, most)
  for _, letter in ipairs(LETTERS) do
    for _, why in ipairs(whys(K['held_' .. letter], task, 'limit')) do
      local group = string.match(why, '^limit (.+)$')
      while released < 500 and (most == 0 or call('SCARD', places({task = task, group = group})) < most) do
        if let_go(task, why, 1) == 0 then break end
        released = released + 1
      end
    end
  end
end

for i = REST + 1, #ARGV, 4 do
  local task, most = ARGV[i], tonumber(ARGV[i + 1])
  local unlimited = most == 0 and ARGV[i + 2] == '0'
  -- a limit that was lifted stays known, so that places given under it are still given back
  if not unlimited or call('HEXISTS', K.limits, task) == 1 then
    call('HSET', K.limits, task, ARGV[i + 1] .. ' ' .. ARGV[i + 2] .. ' ' .. ARGV[i + 3])
    give_places(task, most)
  end
end
return released
