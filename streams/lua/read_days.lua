-- What is kept of days, read by the partition's owner in one step with the look at the fence (as read_states.lua).
-- KEYS[1] fence, KEYS[2..] a hash for each day (at most some hundreds).
-- ARGV owner, broker and offset where the owner believes the fence, its last step.
-- Returns for each day a list: field, value, field, value... Errors: FENCED, DIVERGED.
local f = redis.call('HMGET', KEYS[1], 'owner', 'broker', 'offset', 'step')
if f[1] ~= ARGV[1] then
  return redis.error_reply('FENCED another worker owns this partition')
end
if (f[2] or '') ~= ARGV[2] or (f[3] or '0') ~= ARGV[3] or (f[4] or '0') ~= ARGV[4] then
  return redis.error_reply('DIVERGED the fence is not where its owner left it: the store was set back')
end
local found = {}
for i = 2, #KEYS do
  found[i - 1] = redis.call('HGETALL', KEYS[i])
end
return found
