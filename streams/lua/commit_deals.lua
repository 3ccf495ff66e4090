-- Objects, names, what was told of conversions, the wishes that follow, remembered events, the rows that say so, and the
-- fence: all or nothing.
-- KEYS[1] fence, KEYS[2] outbox, KEYS[3..] hashes whose fields change, then keys of remembered events.
-- ARGV owner, broker and offset where the owner believes the fence, broker, next, journal, batch id, rows ('' = none),
-- number of hashes, then for each hash: number of fields, (field, value; '' = delete)...; then for each remembered event:
-- value, seconds.
-- A next that is where the fence stands already: something else than a batch caused it (other rules).
-- Returns OK; a repeated call is OK and changes nothing. Errors: FENCED, DIVERGED.
local f = redis.call('HMGET', KEYS[1], 'owner', 'broker', 'offset')
if f[1] ~= ARGV[1] then
  return redis.error_reply('FENCED another worker owns this partition')
end
local is_batch = ARGV[2] ~= ARGV[4] or ARGV[3] ~= ARGV[5]
if is_batch and f[2] == ARGV[4] and f[3] == ARGV[5] then
  return 'OK'
end
if (f[2] or '') ~= ARGV[2] or (f[3] or '0') ~= ARGV[3] then
  return redis.error_reply('DIVERGED the fence is not where its owner left it: the store was set back')
end
local hashes = tonumber(ARGV[9])
local at = 10
for i = 1, hashes do
  local fields = tonumber(ARGV[at])
  at = at + 1
  for _ = 1, fields do
    if ARGV[at + 1] == '' then
      redis.call('HDEL', KEYS[2 + i], ARGV[at])
    else
      redis.call('HSET', KEYS[2 + i], ARGV[at], ARGV[at + 1])
    end
    at = at + 2
  end
end
for i = 3 + hashes, #KEYS do
  redis.call('SET', KEYS[i], ARGV[at], 'EX', ARGV[at + 1])
  at = at + 2
end
if ARGV[8] ~= '' then
  redis.call('HSET', KEYS[2], ARGV[7], ARGV[8])
end
if is_batch then
  redis.call('HSET', KEYS[1], 'broker', ARGV[4], 'offset', ARGV[5], 'journal', ARGV[6], 'pending', '')
end
return 'OK'
