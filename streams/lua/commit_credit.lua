-- What now stands credited, the ledger rows that say so, and the fence: all or nothing.
-- KEYS[1] fence, KEYS[2] outbox, KEYS[3..] conversions.
-- ARGV owner, broker and offset where the owner believes the fence, broker, next, journal, batch id, rows,
-- number of conversions, conversions...
-- Returns OK; a repeated call is OK and changes nothing. Errors: FENCED, DIVERGED.
local f = redis.call('HMGET', KEYS[1], 'owner', 'broker', 'offset')
if f[1] ~= ARGV[1] then
  return redis.error_reply('FENCED another worker owns this partition')
end
if f[2] == ARGV[4] and f[3] == ARGV[5] then
  return 'OK'
end
if (f[2] or '') ~= ARGV[2] or (f[3] or '0') ~= ARGV[3] then
  return redis.error_reply('DIVERGED the fence is not where its owner left it: the store was set back')
end
for i = 1, tonumber(ARGV[9]) do
  redis.call('SET', KEYS[2 + i], ARGV[9 + i])
end
redis.call('HSET', KEYS[2], ARGV[7], ARGV[8])
redis.call('HSET', KEYS[1], 'broker', ARGV[4], 'offset', ARGV[5], 'journal', ARGV[6], 'pending', '')
return 'OK'
