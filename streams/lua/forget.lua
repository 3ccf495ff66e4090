-- Delete hash fields that still hold the value we saw (a newer value is somebody's newer wish).
-- KEYS[1] hash.  ARGV (field, value)...  Returns how many were deleted.
local gone = 0
for i = 1, #ARGV, 2 do
  if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 1] then
    gone = gone + redis.call('HDEL', KEYS[1], ARGV[i])
  end
end
return gone
