-- Conversions as they stood before a decision whose rows ClickHouse refuses: the ledger does not say what was decided.
-- KEYS[1] fence, KEYS[2..] conversions.  ARGV owner, values ('' = there was none)...
-- Returns OK, or an error: FENCED. To be called by the owner before his next commit.
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then
  return redis.error_reply('FENCED another worker owns this partition')
end
for i = 2, #KEYS do
  if ARGV[i] == '' then
    redis.call('DEL', KEYS[i])
  else
    redis.call('SET', KEYS[i], ARGV[i])
  end
end
return 'OK'
