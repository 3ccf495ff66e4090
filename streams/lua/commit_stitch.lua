-- One batch's states, the conversions to look at, the tally of its range, and the fence: all or nothing.
-- KEYS[1] fence, KEYS[2] dirty, KEYS[3] tally, KEYS[4] closed tallies, KEYS[5] spreads, KEYS[6] there is when
-- a conversion is about a visitor whom its sender named, KEYS[7..] timelines.
-- ARGV owner, broker, first, next, journal, ttl seconds, events that close a range, counts of the batch (JSON object),
-- spread (field and value, '' = none), whether it tells of visitors without links, number of timelines, timelines...,
-- (dirty field, value)...
-- Returns OK; a repeated call for the same range is OK and changes nothing. OTHERS: nothing is written, the spread must
-- tell of visitors without links. Errors: FENCED, DIVERGED.
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then
  return redis.error_reply('FENCED another worker owns this partition')
end
local f = redis.call('HMGET', KEYS[1], 'broker', 'offset', 'pending')
if (not f[3] or f[3] == '') and f[1] == ARGV[2] and f[2] == ARGV[4] then
  return 'OK'
end
if not f[3] or f[3] == '' then
  return redis.error_reply('DIVERGED the claimed range is gone: the store was set back')
end
local p = cjson.decode(f[3])
if p.broker ~= ARGV[2] or p.first ~= tonumber(ARGV[3]) or p.last + 1 ~= tonumber(ARGV[4]) then
  return redis.error_reply('DIVERGED another range is pending: ' .. f[3])
end
if ARGV[11] == '0' and redis.call('EXISTS', KEYS[6]) == 1 then
  return 'OTHERS'
end
local first, next = tonumber(ARGV[3]), tonumber(ARGV[4])
local counts = cjson.decode(ARGV[8])
local tally = redis.call('GET', KEYS[3])
local t = tally and cjson.decode(tally)
if t and (t.broker ~= ARGV[2] or t.events >= tonumber(ARGV[7])) then
  redis.call('RPUSH', KEYS[4], tally)
  if t.broker ~= ARGV[2] then
    t = nil
  else
    t = { broker = t.broker, first = t.next, next = t.next }
  end
end
t = t or { broker = ARGV[2], first = first, next = first }
t.skipped = (t.skipped or 0) + math.max(0, first - t.next) + next - first - counts.records
t.repeated = (t.repeated or 0) + math.max(0, t.next - first)
t.next = math.max(t.next, next)
for name, count in pairs(counts) do
  t[name] = (t[name] or 0) + count
end
redis.call('SET', KEYS[3], cjson.encode(t))
if ARGV[9] ~= '' then
  redis.call('HSET', KEYS[5], ARGV[9], ARGV[10])
end
local n = tonumber(ARGV[12])
for i = 1, n do
  redis.call('SET', KEYS[6 + i], ARGV[12 + i], 'EX', ARGV[6])
end
for i = 13 + n, #ARGV, 2 do
  redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
end
redis.call('HSET', KEYS[1], 'broker', ARGV[2], 'offset', ARGV[4], 'journal', ARGV[5], 'pending', '',
  'payload', '')
return 'OK'
