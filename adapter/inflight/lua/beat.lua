-- beat: this replica lives, and so it is. Of each replica the hash holds "<ms of its beat> <its state>", the ms
-- by this server's clock: replicas learn from it what time it is, and people how old a beat is.
-- KEYS    replicas
-- ARGV    replica, ms after which a silent one is forgotten, state
-- result  1 where this one was there before, else 0; this server's ms; then replica, ms since its beat, state,
--         replica, ...

local time = redis.call('TIME')
now = time[1] * 1000 + math.floor(time[2] / 1000)

local function say(replica, state)
  redis.call('HSET', KEYS[1], replica, string.format('%.0f %s', now, state))
end

local results = {redis.call('HEXISTS', KEYS[1], ARGV[1]), now}
say(ARGV[1], ARGV[3])
keep(KEYS[1], tonumber(ARGV[2]))

local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local last, state = string.match(all[i + 1], '^(%d+) (.*)$')
  local age = last and now - last
  if age and age >= tonumber(ARGV[2]) then
    redis.call('HDEL', KEYS[1], all[i])
  elseif age then  -- else it is nothing of ours
    if age < 0 then  -- this server's clock went back: its age counts from now on, or the dead would live
      say(all[i], state)
      age = 0
    end
    results[#results + 1] = all[i]
    results[#results + 1] = age
    results[#results + 1] = state
  end
end
return results
