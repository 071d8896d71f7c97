-- beat: this replica lives.
-- KEYS    replicas
-- ARGV    replica, ms after which a silent one is forgotten
-- result  replica, ms since its last beat, replica, ms, ...

redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
keep(KEYS[1], tonumber(ARGV[2]))

local results = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
for i = 2, #results, 2 do
  results[i] = now - results[i]
end
return results
