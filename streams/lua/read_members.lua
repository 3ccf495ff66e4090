-- Members of ids.  KEYS members of the id, for each (at most some hundreds).
-- Returns for each a list: visitor, statement, visitor, statement...
local found = {}
for i = 1, #KEYS do
  found[i] = redis.call('HGETALL', KEYS[i])
end
return found
