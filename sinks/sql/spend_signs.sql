-- Purpose: figures of spend that do not add up. What is taken back must have been there (each distinct row stands 0 or 1
-- times).
-- Parameters: limit UInt32. Order of magnitude: 200 ms per million rows of spend and core.
SELECT toString(day) AS at, concat(site, ' ', ad_network, ' ', level, ' ', account_id, ' ', campaign_id, ' ', campaign, ' ',
    ad_group_id, ' ', ad_id, ' ', ad) AS thing, currency, toInt64(sum(sign)) AS stands
FROM $spend
GROUP BY site, day, ad_network, level, account_id, campaign_id, campaign, ad_group_id, ad_group, ad_id, ad, channel, source, medium,
    campaign_label, currency, bid_strategy, bid, time_zone, reach, impressions * sign, clicks * sign, views * sign,
    installs * sign, amount * sign, platform_conversions * sign, platform_value * sign
HAVING stands NOT IN (0, 1)
ORDER BY day, thing
LIMIT {limit:UInt32}
