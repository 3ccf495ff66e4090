-- Purpose: how many rows each table holds of one offset range of headwater.hits.v1, for the tally of that range.
-- hits name their own offset, the other tables the first offset of the batch; a range is always whole batches.
-- Parameters: broker, topic String, partition UInt16, low, high UInt64 (offsets, high excluded).
-- Order of magnitude: the granules that hold the range (skip index src of migration 0003): some 10 ms.
SELECT
    (SELECT count() FROM $hits
        WHERE src_broker = {broker:String} AND src_partition = {partition:UInt16}
            AND src_offset >= {low:UInt64} AND src_offset < {high:UInt64}) AS hits,
    (SELECT count() FROM $sessions
        WHERE src_broker = {broker:String} AND src_partition = {partition:UInt16}
            AND src_offset >= {low:UInt64} AND src_offset < {high:UInt64}) AS sessions,
    (SELECT count() FROM $touchpoints
        WHERE src_broker = {broker:String} AND src_partition = {partition:UInt16}
            AND src_offset >= {low:UInt64} AND src_offset < {high:UInt64}) AS touchpoints,
    (SELECT sum(count) FROM $drops
        WHERE src_broker = {broker:String} AND src_partition = {partition:UInt16}
            AND src_offset >= {low:UInt64} AND src_offset < {high:UInt64}) AS drops,
    (SELECT count() FROM $dead_letters
        WHERE topic = {topic:String} AND src_broker = {broker:String} AND src_partition = {partition:UInt16}
            AND src_offset >= {low:UInt64} AND src_offset < {high:UInt64}) AS dead_letters
