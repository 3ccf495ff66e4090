-- Take over a partition: every older owner's writes are refused from here on.
-- KEYS[1] fence.  ARGV owner: a name that nobody else ever had. A count would not do: a store that is set back would give
-- the same number to two owners.
-- Returns {epoch, broker, offset, journal, pending, payload}; missing fields are ''.
local epoch = redis.call('HINCRBY', KEYS[1], 'epoch', 1)
redis.call('HSET', KEYS[1], 'owner', ARGV[1])
local f = redis.call('HMGET', KEYS[1], 'broker', 'offset', 'journal', 'pending', 'payload')
return {tostring(epoch), f[1] or '', f[2] or '', f[3] or '', f[4] or '', f[5] or ''}
