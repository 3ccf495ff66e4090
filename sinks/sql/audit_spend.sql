-- Purpose: what stands of spend by site, network, day, labels and currency: for the self-audit, which knows the same from Redis.
-- Parameters: sites, networks Array(String), days Array(Date): every combination of them is read; the sorting key begins with
-- the day. Order of magnitude: 10 ms per day with thousands of rows.
SELECT CAST(site, 'String'), CAST(ad_network, 'String'), day, CAST(channel, 'String'), CAST(source, 'String'), CAST(medium, 'String'),
    CAST(campaign_label, 'String'), CAST(currency, 'String'), sum(amount) AS cost, toInt64(sum(sign)) AS figures
FROM $spend
WHERE day IN {days:Array(Date)} AND ad_network IN {networks:Array(String)} AND site IN {sites:Array(String)}
GROUP BY site, ad_network, day, channel, source, medium, campaign_label, currency
HAVING cost != 0 OR figures != 0
