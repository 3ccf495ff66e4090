-- Purpose: on which days clicks said what they cost, and how many hits did: a day whose number has changed is asked for anew.
-- Parameters: none. Order of magnitude: 10 ms per million rows of click_costs and core.
SELECT CAST(site, 'String'), CAST(ad_network, 'String'), day, toUInt64(count()) AS hits
FROM $click_costs
WHERE reason = ''
GROUP BY site, ad_network, day
