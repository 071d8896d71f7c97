-- progress: claimed -> claimed. What services answered is added to what they answered before, and the deadline
-- moved if that makes it later.
-- KEYS    records, deadlines, unreceipted, resumed
-- ARGV    retention_ms, then of each: member, what to add, deadline_ms (0: as it was)
-- result  of each: the record, or false where it is not claimed

local results, ttl = {}, 0

for i = 2, #ARGV, 3 do
  local member, added, later = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2])
  local record = redis.call('HGET', KEYS[1], member)
  if record and string.byte(record, 2) == 1 then
    local _, event = owned(record)
    local at = cmsgpack.unpack_limit(record, 1, event)
    local past, deadline = cmsgpack.unpack_limit(record, 1, at)
    if later > deadline then
      record = string.sub(record, 1, at) .. cmsgpack.pack(later) .. string.sub(record, past + 1)
      redis.call('ZADD', KEYS[2], later, member)
      ttl = math.max(ttl, later - now + ARGV[1])
    end
    if added ~= '' then
      at = cmsgpack.unpack_limit(record, 5, event)
      past = at
      if has_course(record) then
        local course
        past, course = cmsgpack.unpack_limit(record, 1, at)
        added = course .. added
      end
      record = '\155' .. string.sub(record, 2, at) .. cmsgpack.pack(added) .. string.sub(record, past + 1)
    end
    redis.call('HSET', KEYS[1], member, record)
    results[#results + 1] = record
  else
    results[#results + 1] = false
  end
end

keep(KEYS[1], ttl)
keep(KEYS[2], ttl)
return results
