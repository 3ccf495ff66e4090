-- Of timelines that are not there, which were put away.
-- Behind mark.lua.  KEYS timelines, of any partitions (at most some thousands).  Returns 1 or 0 for each.
local found = {}
for i = 1, #KEYS do
  found[i] = 0
  if redis.call('EXISTS', marks_of(KEYS[i])) == 1 then
    found[i] = redis.call('SISMEMBER', mark_of(KEYS[i]))
  end
end
return found
