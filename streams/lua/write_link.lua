-- The id's end of a link. Who writes is the owner of the visitor's partition, or was: the latest statement stays.
-- KEYS[1] members of the id.  ARGV visitor, statement (fixed length, its order is the statements'), closed_at, ttl seconds.
-- An id of more than closed_at visitors takes no other ones. Returns 1 if the visitor is among its members, else 0.
local known = redis.call('HGET', KEYS[1], ARGV[1])
if not known and redis.call('HLEN', KEYS[1]) > tonumber(ARGV[3]) then
  return 0
end
if not known or known < ARGV[2] then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
redis.call('EXPIRE', KEYS[1], ARGV[4])
return 1
