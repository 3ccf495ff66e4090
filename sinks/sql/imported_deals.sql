-- Purpose: what became of deliveries that an import has sent.
-- Parameters: scheme String, broker String, partition UInt16, first UInt64 (offset). Milliseconds: deliveries are few.
SELECT outcome, count() AS deliveries
FROM $deliveries
WHERE scheme = {scheme:String} AND src_broker = {broker:String} AND src_partition = {partition:UInt16}
    AND src_offset >= {first:UInt64}
GROUP BY outcome
