-- Purpose: what each campaign cost, by the labels under which it stands; campaigns without spend in the time asked for too,
-- because touches may name them.
-- What only clicks told is no report: level live is left out.
-- Parameters: from, to Date (to excluded), sites Array(String) (none = all). Order of magnitude: 50 ms per million rows of
-- spend and core.
SELECT CAST(site, 'String'), CAST(ad_network, 'String'), campaign_id, CAST(campaign, 'String'), CAST(channel, 'String'),
    CAST(source, 'String'), CAST(medium, 'String'), CAST(campaign_label, 'String'), CAST(currency, 'String'),
    sumIf(amount, $within) AS cost, sumIf(clicks, $within) AS all_clicks
FROM $spend
WHERE (empty({sites:Array(String)}) OR site IN {sites:Array(String)}) AND level NOT IN ('account', 'live')
GROUP BY site, ad_network, campaign_id, campaign, channel, source, medium, campaign_label, currency
HAVING sum(sign) != 0
