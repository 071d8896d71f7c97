-- What the verbs share; it stands before each of them.
-- A record is a msgpack array of ten: state, owner, event, deadline_ms, claimed_ms, life, call_id,
-- request, outcome, decision. Once services have answered a call that needs several, it is one of eleven: their
-- answers (the course, text) stand before the request. Its first two bytes are the array's head and the state
-- (1 claimed, 2 settled). Request and decision are bytes, which cmsgpack (Redis 7) can neither read nor write:
-- records are cut and joined, and nothing is read from the request on.
-- All times, of records and scores, are by the clock that the replicas share (adapter/clock.py), never by this
-- server's: where that jumps, nothing is due earlier or later for it. So the first of ARGV is the time, in ms,
-- of whoever asks; it is taken off here, and the verbs below count from what follows it.
-- KEYS of a node, in this order: records, deadlines, unreceipted, resumed.

local now = tonumber(table.remove(ARGV, 1))

-- The owner of a record, and where what follows it begins.
local function owned(record)
  local event, _, owner = cmsgpack.unpack_limit(record, 2, 1)
  return owner, event
end

-- Whether services have answered already.
local function has_course(record)
  return string.byte(record, 1) == 155
end

-- The settled form: a new owner, no request; tail is outcome and decision, packed.
local function settled(record, owner, tail)
  local _, event = owned(record)
  local request = cmsgpack.unpack_limit(record, has_course(record) and 6 or 5, event)
  local head = string.sub(record, 1, 1) .. '\2' .. cmsgpack.pack(owner)
  return head .. string.sub(record, event + 1, request) .. '\160' .. tail
end

-- Let a key live for so long at least, never shorter than it would anyway. Not for 0 or less, which
-- stand for nothing written, and which Redis takes for an order to delete.
local function keep(key, ms)
  if ms > 0 and redis.call('PTTL', key) < ms then
    redis.call('PEXPIRE', key, ms)
  end
end
