-- One decision of spend: what is kept of days, the rows that say so, and the fence: all or nothing.
-- Decisions that change anything are counted: one that labels anew moves no offset.
-- KEYS[1] fence, KEYS[2] outbox, KEYS[3] days, KEYS[4..] what is kept, a hash for each day.
-- ARGV owner, broker and offset where the owner believes the fence, decisions before this one and with it, broker, next,
-- journal, batch id, rows ('' = none), then for each day: its name, number of fields, (field, value; '' = none any more)...
-- Returns OK; a repeated call is OK and changes nothing. Errors: FENCED, DIVERGED.
local f = redis.call('HMGET', KEYS[1], 'owner', 'broker', 'offset', 'step')
if f[1] ~= ARGV[1] then
  return redis.error_reply('FENCED another worker owns this partition')
end
if f[2] == ARGV[6] and f[3] == ARGV[7] and (f[4] or '0') == ARGV[5] then
  return 'OK'
end
if (f[2] or '') ~= ARGV[2] or (f[3] or '0') ~= ARGV[3] or (f[4] or '0') ~= ARGV[4] then
  return redis.error_reply('DIVERGED the fence is not where its owner left it: the store was set back')
end
local at = 11
for i = 4, #KEYS do
  redis.call('HSET', KEYS[3], ARGV[at], '')
  local n = tonumber(ARGV[at + 1])
  for j = at + 2, at + 2 * n, 2 do
    if ARGV[j + 1] == '' then
      redis.call('HDEL', KEYS[i], ARGV[j])
    else
      redis.call('HSET', KEYS[i], ARGV[j], ARGV[j + 1])
    end
  end
  at = at + 2 + 2 * n
end
if ARGV[10] ~= '' then
  redis.call('HSET', KEYS[2], ARGV[9], ARGV[10])
end
redis.call('HSET', KEYS[1], 'broker', ARGV[6], 'offset', ARGV[7], 'step', ARGV[5], 'journal', ARGV[8], 'pending', '')
return 'OK'
