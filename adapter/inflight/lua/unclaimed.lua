-- unclaimed: who is neither in flight nor remembered as resumed. Changes nothing.
-- KEYS    records, deadlines, unreceipted, resumed
-- ARGV    the members
-- result  of each: 1 unclaimed, 0 not

local results = {}

for i = 1, #ARGV do
  local forget = redis.call('ZSCORE', KEYS[4], ARGV[i])
  local taken = forget and tonumber(forget) > now or redis.call('HEXISTS', KEYS[1], ARGV[i]) == 1
  results[i] = taken and 0 or 1
end
return results
