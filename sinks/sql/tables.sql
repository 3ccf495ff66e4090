-- Purpose: engines of all tables and what materialized views hang on them, for the check of deduplication windows.
-- Parameters: none. Order of magnitude: milliseconds.
SELECT database, name, engine, engine_full, create_table_query, toString(uuid) AS uuid,
    dependencies_database, dependencies_table
FROM system.tables
WHERE database NOT IN ('system', 'INFORMATION_SCHEMA', 'information_schema')
