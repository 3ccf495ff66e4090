-- Take over a partition: every older owner's writes are refused from here on.
-- KEYS[1] fence.  Returns {epoch, broker, offset, pending, payload}; missing fields are ''.
local epoch = redis.call('HINCRBY', KEYS[1], 'epoch', 1)
local f = redis.call('HMGET', KEYS[1], 'broker', 'offset', 'pending', 'payload')
return {tostring(epoch), f[1] or '', f[2] or '', f[3] or '', f[4] or ''}
