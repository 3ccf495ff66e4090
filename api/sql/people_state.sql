-- Purpose: whether links have come or gone since they were read, and how many hold.
-- Order of magnitude: 5 ms per million links and core.
SELECT count() AS statements, sum(sign) AS held, toUnixTimestamp64Milli(max(recorded_at)) AS newest
FROM $identity_links
