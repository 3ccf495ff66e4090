-- What a batch means for other visitors has become dirty conversions, in one step with forgetting it.
-- KEYS[1] fence, KEYS[2] dirty, KEYS[3] spreads.  ARGV owner, field of the spread, (dirty field, value)...
-- Returns OK, or an error: FENCED.
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then
  return redis.error_reply('FENCED another worker owns this partition')
end
for i = 3, #ARGV, 2 do
  redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
end
redis.call('HDEL', KEYS[3], ARGV[2])
return 'OK'
