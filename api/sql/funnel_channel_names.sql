-- Purpose: every channel that brought anybody, by name. Order of magnitude: 10 ms per million rows.
SELECT DISTINCT CAST(channel, 'String') AS name FROM (SELECT channel FROM $sessions UNION ALL SELECT channel FROM $hits WHERE in_session = 0)
ORDER BY name
