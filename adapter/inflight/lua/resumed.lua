-- resumed: settled -> resumed. Of what Kamailio has read, the id alone is remembered.
-- KEYS    records, deadlines, unreceipted, resumed
-- ARGV    retention_ms, then the members
-- result  of each: 1, or 0 where it is not settled

local results, ttl = {}, 0

for i = 2, #ARGV do
  local member = ARGV[i]
  local was = redis.call('ZREM', KEYS[3], member)
  if was == 1 then
    redis.call('HDEL', KEYS[1], member)
    redis.call('ZADD', KEYS[4], now + ARGV[1], member)
    ttl = tonumber(ARGV[1])
  end
  results[#results + 1] = was
end

keep(KEYS[4], ttl)
return results
