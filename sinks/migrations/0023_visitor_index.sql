-- Purpose: a way to the hits of a visitor whose timeline is no longer in Redis: hits are in order of time, and a visitor has
-- few of them. Hits written before this migration are covered once their parts are merged; until then they are read as well.

ALTER TABLE {database}.hits
    ADD INDEX IF NOT EXISTS visitor visitor_id TYPE bloom_filter(0.001) GRANULARITY 1;
