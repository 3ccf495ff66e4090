-- Announce the offset range about to be processed, so that whoever recovers uses the same borders.
-- KEYS[1] fence.  ARGV epoch, broker, first, last, version, payload ('' = none).
-- Returns the number of the attempt (1 = first), or an error: FENCED, BEHIND, CONFLICT.
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then
  return redis.error_reply('FENCED another worker owns this partition')
end
local f = redis.call('HMGET', KEYS[1], 'broker', 'offset', 'pending')
if f[1] == ARGV[2] and f[2] and tonumber(f[2]) > tonumber(ARGV[3]) then
  return redis.error_reply('BEHIND the range was already committed')
end
local attempt = 1
if f[3] and f[3] ~= '' then
  local p = cjson.decode(f[3])
  if p.broker == ARGV[2] and p.first == tonumber(ARGV[3]) and p.last == tonumber(ARGV[4]) then
    attempt = p.attempt + 1
  else
    return redis.error_reply('CONFLICT another range is pending: ' .. f[3])
  end
end
redis.call('HSET', KEYS[1], 'pending', cjson.encode({
  broker = ARGV[2], first = tonumber(ARGV[3]), last = tonumber(ARGV[4]), version = ARGV[5], attempt = attempt }))
if ARGV[6] ~= '' then
  redis.call('HSET', KEYS[1], 'payload', ARGV[6])
end
return attempt
