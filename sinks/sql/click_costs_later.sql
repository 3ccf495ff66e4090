-- Purpose: the later days on which clicks of a day came again: what is known of the day changes what they cost.
-- Parameters: site, network String, day, until Date. Order of magnitude: 50 ms per million rows of these days and core.
SELECT DISTINCT day
FROM $click_costs
WHERE site = {site:String} AND ad_network = {network:String} AND day > {day:Date} AND day <= {until:Date} AND reason = ''
    AND click IN
    (
        SELECT click
        FROM $click_costs
        WHERE site = {site:String} AND ad_network = {network:String} AND day = {day:Date} AND reason = ''
    )
ORDER BY day
