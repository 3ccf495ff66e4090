-- Timelines that nobody has written for long leave the store, each with a mark in its place: the visitor was here, and his
-- hits are in ClickHouse. In one step: who finds neither a timeline nor a mark knows that the visitor is new.
-- None go while a range is pending: made again it must give the same rows, and a timeline that is made again is judged by the
-- rules of today.
-- Behind mark.lua.  KEYS[1] fence, KEYS[2..] timelines of its partition.  ARGV milliseconds: what has less to live goes.
-- Returns how many went.
if (redis.call('HGET', KEYS[1], 'pending') or '') ~= '' then
  return 0
end
local gone = 0
for i = 2, #KEYS do
  local left = redis.call('PTTL', KEYS[i])
  if left >= 0 and left < tonumber(ARGV[1]) then
    local set, member = mark_of(KEYS[i])
    redis.call('SADD', set, member)
    redis.call('SET', marks_of(KEYS[i]), '1')
    redis.call('DEL', KEYS[i])
    gone = gone + 1
  end
end
return gone
