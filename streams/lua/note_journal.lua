-- How far the journal is done, when nothing in it was left to do. In a store that was set back since there may be.
-- KEYS[1] fence.  ARGV owner, journal.  Returns OK, or an error: FENCED.
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then
  return redis.error_reply('FENCED another worker owns this partition')
end
redis.call('HSET', KEYS[1], 'journal', ARGV[2])
return 'OK'
