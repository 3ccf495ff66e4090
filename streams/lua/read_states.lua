-- States of a partition, read by its owner. What is decided from states of a store that was set back would contradict
-- what is in ClickHouse, so they are read in one step with the look at the fence.
-- KEYS[1] fence, KEYS[2..] states (at most some thousands).  ARGV owner, broker and offset where the owner believes the fence.
-- Returns the values, false where there is none. Errors: FENCED, DIVERGED.
local f = redis.call('HMGET', KEYS[1], 'owner', 'broker', 'offset')
if f[1] ~= ARGV[1] then
  return redis.error_reply('FENCED another worker owns this partition')
end
if (f[2] or '') ~= ARGV[2] or (f[3] or '0') ~= ARGV[3] then
  return redis.error_reply('DIVERGED the fence is not where its owner left it: the store was set back')
end
return redis.call('MGET', unpack(KEYS, 2))
