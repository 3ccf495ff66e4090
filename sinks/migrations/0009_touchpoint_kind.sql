-- Purpose: what a touchpoint was to the person (click, view, visit): lookback windows differ by it, and views are told
-- apart from arrivals. Rows of earlier versions have ''; the row that takes one of them back names its kind, so group
-- by touchpoint_id and ask any() or max() of it.

ALTER TABLE {database}.touchpoints
    ADD COLUMN IF NOT EXISTS kind LowCardinality(String) DEFAULT '' AFTER landing_page;
