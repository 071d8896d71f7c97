-- answered: who is settled, or remembered as resumed. Changes nothing.
-- KEYS    records, deadlines, unreceipted, resumed
-- ARGV    the members
-- result  of each: 1 answered, 0 claimed or unknown

local results = {}

for i = 1, #ARGV do
  local forget = redis.call('ZSCORE', KEYS[4], ARGV[i])
  local record = redis.call('HGET', KEYS[1], ARGV[i])
  local over = forget and tonumber(forget) > now or record and string.byte(record, 2) == 2
  results[i] = over and 1 or 0
end
return results
