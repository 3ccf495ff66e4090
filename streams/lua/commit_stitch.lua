-- One batch's states, the conversions to look at, and the fence: all or nothing.
-- KEYS[1] fence, KEYS[2] dirty, KEYS[3..] timelines.
-- ARGV epoch, broker, first, next, ttl seconds, number of timelines, timelines..., (dirty field, value)...
-- Returns OK; a repeated call for the same range is OK and changes nothing. Errors: FENCED, DIVERGED.
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then
  return redis.error_reply('FENCED another worker owns this partition')
end
local f = redis.call('HMGET', KEYS[1], 'broker', 'offset', 'pending')
if (not f[3] or f[3] == '') and f[1] == ARGV[2] and f[2] == ARGV[4] then
  return 'OK'
end
if not f[3] or f[3] == '' then
  return redis.error_reply('DIVERGED the claimed range is gone: the store was set back')
end
local p = cjson.decode(f[3])
if p.broker ~= ARGV[2] or p.first ~= tonumber(ARGV[3]) or p.last + 1 ~= tonumber(ARGV[4]) then
  return redis.error_reply('DIVERGED another range is pending: ' .. f[3])
end
local n = tonumber(ARGV[6])
for i = 1, n do
  redis.call('SET', KEYS[2 + i], ARGV[6 + i], 'EX', ARGV[5])
end
for i = 7 + n, #ARGV, 2 do
  redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
end
redis.call('HSET', KEYS[1], 'broker', ARGV[2], 'offset', ARGV[4], 'pending', '', 'payload', '')
return 'OK'
