-- Purpose: what networks call the campaigns under whose ids spend and touches stand, as their newest reports say.
-- Parameters: labels Array(String). Order of magnitude: 10 ms per million rows of spend and core.
SELECT CAST(campaign_label, 'String') AS label, CAST(argMax(campaign, (as_of, recorded_at, campaign)), 'String') AS name
FROM $spend
WHERE campaign_label IN {labels:Array(String)} AND campaign_id = campaign_label AND campaign NOT IN ('', campaign_id)
GROUP BY label
