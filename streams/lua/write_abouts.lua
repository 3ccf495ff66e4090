-- Conversions that an id is told to be about. May be repeated, in any order: the latest instant stays.
-- KEYS an id, for each entry.  ARGV for each entry: conversion id, instant (fixed length, so that text
-- is in order of time).
for i = 1, #KEYS do
  local conversion, at = ARGV[2 * i - 1], ARGV[2 * i]
  local known = redis.call('HGET', KEYS[i], conversion)
  if not known or known < at then
    redis.call('HSET', KEYS[i], conversion, at)
  end
  redis.call('PERSIST', KEYS[i]) -- a former Headwater let it expire
end
return 'OK'
