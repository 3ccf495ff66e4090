-- Timelines of a partition, read by its owner, as read_states.lua reads states; of those that are not there it is told which
-- were put away.
-- Behind mark.lua.  KEYS[1] fence, KEYS[2..] timelines (at most some thousands).  ARGV owner, broker and offset where the
-- owner believes the fence.
-- Returns the values, '' where one was put away, false where there never was one. Errors: FENCED, DIVERGED.
local f = redis.call('HMGET', KEYS[1], 'owner', 'broker', 'offset')
if f[1] ~= ARGV[1] then
  return redis.error_reply('FENCED another worker owns this partition')
end
if (f[2] or '') ~= ARGV[2] or (f[3] or '0') ~= ARGV[3] then
  return redis.error_reply('DIVERGED the fence is not where its owner left it: the store was set back')
end
local values = redis.call('MGET', unpack(KEYS, 2))
if redis.call('EXISTS', marks_of(KEYS[2])) == 1 then
  for i = 1, #values do
    if not values[i] and redis.call('SISMEMBER', mark_of(KEYS[i + 1])) == 1 then
      values[i] = ''
    end
  end
end
return values
