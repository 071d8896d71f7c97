-- settle: claimed -> settled, the licence to resume. Whoever claimed it, the settler owns it now.
-- KEYS    records, deadlines, unreceipted, resumed
-- ARGV    owner, then of each: member, tail (outcome and decision, packed)
-- result  of each: the record, or false where it is not claimed

local results = {}

for i = 2, #ARGV, 2 do
  local member = ARGV[i]
  local record = redis.call('HGET', KEYS[1], member)
  if record and string.byte(record, 2) == 1 then
    record = settled(record, ARGV[1], ARGV[i + 1])
    redis.call('HSET', KEYS[1], member, record)
    redis.call('ZADD', KEYS[3], redis.call('ZSCORE', KEYS[2], member) or now, member)
    redis.call('ZREM', KEYS[2], member)
    results[#results + 1] = record
  else
    results[#results + 1] = false
  end
end

-- The records outlive every deadline by the retention; so must what names them.
keep(KEYS[3], redis.call('PTTL', KEYS[1]))
return results
