-- Purpose: the ledger of the conversions of customers_conversions.sql under four models: one touch or three, each in a channel of
-- its own of eight; one conversion of twenty has a tenth of it paid back a week later.
INSERT INTO $credits (site, model, conversion_id, touchpoint_id, conversion_type, visitor_id, channel, source, medium, campaign,
    term, content, ad_network, landing_page, weight, amount, conversion_value, currency, cause, policy_version, touched_at,
    converted_at, recorded_at, booked_at)
SELECT site, model, conversion_id, concat(conversion_id, toString(touch)) AS touchpoint_id, type, visitor_id,
    ['Direct', 'Paid Search', 'Organic Search', 'Email', 'Display', 'Paid Social', 'Referral', 'Affiliate'][
        1 + cityHash64(conversion_id, touch) % 8] AS channel,
    lower(channel) AS source, 'medium' AS medium,
    concat('campaign ', toString(cityHash64(conversion_id, touch, 1) % 8)) AS campaign, '' AS term, '' AS content,
    '' AS ad_network, '/' AS landing_page,
    if(booking = 0, multiIf(touches = 1, toDecimal64('1', 9), touch = 0, toDecimal64('0.333333334', 9),
        toDecimal64('0.333333333', 9)), toDecimal64('0', 9)) AS weight,
    toDecimal64(if(booking = 0, 1, -1) * reinterpretAsInt64(value) / if(booking = 0, 1, 10) / touches, 0) / 10000 AS amount,
    toDecimal64(0, 4) AS conversion_value, currency, if(booking = 0, 'conversion', 'refund') AS cause, '1' AS policy_version,
    converted_at - toIntervalHour(1 + touch) AS touched_at, converted_at,
    if(booking = 0, converted_at, converted_at + toIntervalDay(7)) AS booked, booked
FROM
(
    SELECT *, arrayJoin([('first_touch', 1), ('last_touch', 1), ('linear', 3), ('time_decay', 3)]) AS shared,
        shared.1 AS model, shared.2 AS touches, arrayJoin(range(touches)) AS touch,
        arrayJoin(range(if(cityHash64(conversion_id) % 20 = 0, 2, 1))) AS booking
    FROM $conversions
)
