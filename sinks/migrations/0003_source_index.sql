-- Purpose: the self-audit counts the rows of one offset range. Offsets grow with time as the sorting keys do, so a
-- small index of the least and greatest offset lets it read the granules of that range only. Rows written before this
-- migration are covered once their parts are merged; until then they are read as well.

ALTER TABLE {database}.hits
    ADD INDEX IF NOT EXISTS src (src_broker, src_partition, src_offset) TYPE minmax GRANULARITY 4;

ALTER TABLE {database}.sessions
    ADD INDEX IF NOT EXISTS src (src_broker, src_partition, src_offset) TYPE minmax GRANULARITY 4;

ALTER TABLE {database}.touchpoints
    ADD INDEX IF NOT EXISTS src (src_broker, src_partition, src_offset) TYPE minmax GRANULARITY 4;

ALTER TABLE {database}.drops
    ADD INDEX IF NOT EXISTS src (src_broker, src_partition, src_offset) TYPE minmax GRANULARITY 4;
