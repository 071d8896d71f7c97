-- adopt: own what others owned, in one state.
-- KEYS    records, deadlines, unreceipted, resumed
-- ARGV    owner, limit, state, then the others
-- result  member, record, member, record, ...

local owner, most, state = cmsgpack.pack(ARGV[1]), 2 * tonumber(ARGV[2]), tonumber(ARGV[3])
local others = {}
for i = 4, #ARGV do
  others[ARGV[i]] = true
end

local results, cursor = {}, '0'
repeat
  local page = redis.call('HSCAN', KEYS[1], cursor, 'COUNT', 256)
  cursor = page[1]
  for i = 1, #page[2], 2 do
    local record = page[2][i + 1]
    if string.byte(record, 2) == state and #results < most then
      local found, event = owned(record)
      if others[found] then
        results[#results + 1] = page[2][i]
        results[#results + 1] = string.sub(record, 1, 2) .. owner .. string.sub(record, event + 1)
      end
    end
  end
until cursor == '0' or #results == most

-- Written after the scan: a hash that changes may show a member twice.
for i = 1, #results, 2 do
  redis.call('HSET', KEYS[1], results[i], results[i + 1])
end
return results
