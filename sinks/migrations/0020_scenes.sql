-- Purpose: on which kind of device and in which country a visit was made: of a session that of its first hit, of a
-- touchpoint that of its own hit. '' = unknown, as all rows of earlier versions; what takes one of them back says '' as well.
-- hits know their device since 0001. country: ISO 3166-1 alpha-2; nothing finer is kept.

ALTER TABLE {database}.hits
    ADD COLUMN IF NOT EXISTS country LowCardinality(String) DEFAULT '' AFTER ip;

ALTER TABLE {database}.sessions
    ADD COLUMN IF NOT EXISTS device LowCardinality(String) DEFAULT '' AFTER referrer_host,
    ADD COLUMN IF NOT EXISTS country LowCardinality(String) DEFAULT '' AFTER device;

ALTER TABLE {database}.touchpoints
    ADD COLUMN IF NOT EXISTS device LowCardinality(String) DEFAULT '' AFTER kind,
    ADD COLUMN IF NOT EXISTS country LowCardinality(String) DEFAULT '' AFTER device;
