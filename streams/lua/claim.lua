-- Announce the offset range about to be processed, so that whoever recovers uses the same borders.
-- KEYS[1] fence.  ARGV owner, broker and offset where the owner believes the fence, broker, first, last, version,
-- payload ('' = none).
-- Returns the number of the attempt (1 = first), or an error: FENCED, DIVERGED, BEHIND, CONFLICT.
local f = redis.call('HMGET', KEYS[1], 'owner', 'broker', 'offset', 'pending')
if f[1] ~= ARGV[1] then
  return redis.error_reply('FENCED another worker owns this partition')
end
if (f[2] or '') ~= ARGV[2] or (f[3] or '0') ~= ARGV[3] then
  return redis.error_reply('DIVERGED the fence is not where its owner left it: the store was set back')
end
if f[2] == ARGV[4] and tonumber(f[3] or '0') > tonumber(ARGV[5]) then
  return redis.error_reply('BEHIND the range was already committed')
end
local attempt = 1
if f[4] and f[4] ~= '' then
  local p = cjson.decode(f[4])
  if p.broker == ARGV[4] and p.first == tonumber(ARGV[5]) and p.last == tonumber(ARGV[6]) then
    attempt = p.attempt + 1
  else
    return redis.error_reply('CONFLICT another range is pending: ' .. f[4])
  end
end
redis.call('HSET', KEYS[1], 'pending', cjson.encode({
  broker = ARGV[4], first = tonumber(ARGV[5]), last = tonumber(ARGV[6]), version = ARGV[7], attempt = attempt }))
if ARGV[8] ~= '' then
  redis.call('HSET', KEYS[1], 'payload', ARGV[8])
end
return attempt
