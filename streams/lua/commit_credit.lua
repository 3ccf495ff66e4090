-- What now stands credited, the ledger rows that say so, and the fence: all or nothing.
-- KEYS[1] fence, KEYS[2] outbox, KEYS[3..] conversions.
-- ARGV epoch, broker, next, batch id, rows ('' = none), number of conversions, conversions...
-- Returns OK; a repeated call writes the same values. Error: FENCED.
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then
  return redis.error_reply('FENCED another worker owns this partition')
end
local n = tonumber(ARGV[6])
for i = 1, n do
  redis.call('SET', KEYS[2 + i], ARGV[6 + i])
end
if ARGV[5] ~= '' then
  redis.call('HSET', KEYS[2], ARGV[4], ARGV[5])
end
redis.call('HSET', KEYS[1], 'broker', ARGV[2], 'offset', ARGV[3], 'pending', '')
return 'OK'
