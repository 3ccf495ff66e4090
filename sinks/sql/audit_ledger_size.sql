-- Purpose: how many entries the ledger holds, so that the audit can cut it into slices of bounded cost.
-- Parameters: none. Order of magnitude: microseconds; ClickHouse knows the number of rows.
SELECT count() FROM $credits
