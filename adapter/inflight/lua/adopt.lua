-- adopt: own what dead replicas owned, claimed or settled.
-- KEYS    records, deadlines, unreceipted, resumed
-- ARGV    owner, limit, then the dead
-- result  member, record, member, record, ...

local owner, most = cmsgpack.pack(ARGV[1]), 2 * tonumber(ARGV[2])
local dead = {}
for i = 3, #ARGV do
  dead[ARGV[i]] = true
end

local results, cursor = {}, '0'
repeat
  local page = redis.call('HSCAN', KEYS[1], cursor, 'COUNT', 256)
  cursor = page[1]
  for i = 1, #page[2], 2 do
    local record = page[2][i + 1]
    local found, event = owned(record)
    if dead[found] and #results < most then
      results[#results + 1] = page[2][i]
      results[#results + 1] = string.sub(record, 1, 2) .. owner .. string.sub(record, event + 1)
    end
  end
until cursor == '0' or #results == most

-- Written after the scan: a hash that changes may show a member twice.
for i = 1, #results, 2 do
  redis.call('HSET', KEYS[1], results[i], results[i + 1])
end
return results
