-- The ids' ends of links. Who writes one is the owner of the visitor's partition, or was: the latest statement stays.
-- KEYS members of the id, for each link.  ARGV for each link: visitor, statement (fixed length, its
-- order is the statements'), closed_at: an id of more visitors takes no other ones. Each may be repeated, in any order.
for i = 1, #KEYS do
  local visitor, statement, closed_at = ARGV[3 * i - 2], ARGV[3 * i - 1], tonumber(ARGV[3 * i])
  local known = redis.call('HGET', KEYS[i], visitor)
  if known or redis.call('HLEN', KEYS[i]) <= closed_at then
    if not known or known < statement then
      redis.call('HSET', KEYS[i], visitor, statement)
    end
    redis.call('PERSIST', KEYS[i]) -- a former Headwater let it expire
  end
end
return 'OK'
