-- Purpose: how many touches of each site name a campaign, by their labels: what spend is joined to.
-- Parameters: none. Order of magnitude: 20 ms per million touchpoints and core.
SELECT site, ad_network, channel, source, medium, campaign, toInt64(sum(sign)) AS touches
FROM $touchpoints
WHERE campaign != ''
GROUP BY site, ad_network, channel, source, medium, campaign
HAVING touches > 0
