-- Fields of a partition's hash, read by its owner: as read_states.lua, for what is kept in one hash.
-- KEYS[1] fence, KEYS[2] hash.  ARGV owner, broker and offset where the owner believes the fence, fields (at most some
-- thousands).
-- Returns the values, false where there is none. Errors: FENCED, DIVERGED.
local f = redis.call('HMGET', KEYS[1], 'owner', 'broker', 'offset')
if f[1] ~= ARGV[1] then
  return redis.error_reply('FENCED another worker owns this partition')
end
if (f[2] or '') ~= ARGV[2] or (f[3] or '0') ~= ARGV[3] then
  return redis.error_reply('DIVERGED the fence is not where its owner left it: the store was set back')
end
return redis.call('HMGET', KEYS[2], unpack(ARGV, 4))
