-- claim: take what nobody has taken, with at most so many claimed.
-- KEYS    records, deadlines, unreceipted, resumed
-- ARGV    limit, retention_ms, then of each: member, deadline_ms, record
-- result  of each: 0 lost, 1 won, 2 won, but the node is full: settled as overload

local room = ARGV[1] - redis.call('ZCARD', KEYS[2])
local overload = cmsgpack.pack('overload') .. '\192'
local results, ttl = {}, 0

for i = 3, #ARGV, 3 do
  local member, deadline, record = ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2]
  local forget = redis.call('ZSCORE', KEYS[4], member)
  local place, result = KEYS[3], 1
  if string.byte(record, 2) == 1 then
    if room > 0 then
      place = KEYS[2]
    else
      local owner = owned(record)
      record, result = settled(record, owner, overload), 2
    end
  end
  if forget and tonumber(forget) > now or redis.call('HSETNX', KEYS[1], member, record) == 0 then
    result = 0
  else
    redis.call('ZADD', place, deadline, member)
    ttl = math.max(ttl, deadline - now + ARGV[2], ARGV[2])
    if place == KEYS[2] then
      room = room - 1
    end
  end
  results[#results + 1] = result
end

for i = 1, 3 do
  keep(KEYS[i], ttl)
end
return results
