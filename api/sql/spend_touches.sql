-- Purpose: how many touches there are by their labels, of the time asked for.
-- Parameters: from, to UInt32 (epoch seconds, to excluded), sites Array(String) (none = all). Order of magnitude: 20 ms per
-- million touchpoints and core.
SELECT CAST(site, 'String'), CAST(ad_network, 'String'), CAST(channel, 'String'), CAST(source, 'String'),
    CAST(medium, 'String'), CAST(campaign, 'String'), toInt64(sum(sign)) AS touches
FROM $touchpoints
WHERE (empty({sites:Array(String)}) OR site IN {sites:Array(String)}) AND $within
GROUP BY site, ad_network, channel, source, medium, campaign
HAVING touches > 0
