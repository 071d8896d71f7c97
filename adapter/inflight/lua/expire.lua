-- expire: settle as timeout what is past its deadline, the earliest first; forget what is past
-- the retention.
-- KEYS    records, deadlines, unreceipted, resumed
-- ARGV    owner, limit, retention_ms
-- result  member, record, member, record, ...

redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', now)
local past = redis.call('ZRANGE', KEYS[3], '-inf', now - ARGV[3], 'BYSCORE', 'LIMIT', 0, ARGV[2])
for _, member in ipairs(past) do
  redis.call('HDEL', KEYS[1], member)
  redis.call('ZREM', KEYS[3], member)
end

local due = redis.call('ZRANGE', KEYS[2], '-inf', now, 'BYSCORE', 'LIMIT', 0, ARGV[2], 'WITHSCORES')
local tail = cmsgpack.pack('timeout') .. '\192'
local results = {}

for i = 1, #due, 2 do
  local member = due[i]
  local record = redis.call('HGET', KEYS[1], member)
  redis.call('ZREM', KEYS[2], member)
  if record then
    record = settled(record, ARGV[1], tail)
    redis.call('HSET', KEYS[1], member, record)
    redis.call('ZADD', KEYS[3], due[i + 1], member)
    results[#results + 1] = member
    results[#results + 1] = record
  end
end

keep(KEYS[3], redis.call('PTTL', KEYS[1]))
return results
