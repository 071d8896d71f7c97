-- release: settled -> settled, and nobody's. For certain nobody has written it: whoever adopts it writes it.
-- KEYS    records, deadlines, unreceipted, resumed
-- ARGV    owner, then the members
-- result  of each: 1, or 0 where it is not settled, or not the owner's

local nobody, results = cmsgpack.pack(''), {}

for i = 2, #ARGV do
  local record = redis.call('HGET', KEYS[1], ARGV[i])
  local owner, event
  if record and string.byte(record, 2) == 2 then
    owner, event = owned(record)
  end
  if owner == ARGV[1] then
    redis.call('HSET', KEYS[1], ARGV[i], string.sub(record, 1, 2) .. nobody .. string.sub(record, event + 1))
  end
  results[#results + 1] = owner == ARGV[1] and 1 or 0
end
return results
