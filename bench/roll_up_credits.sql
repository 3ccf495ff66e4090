-- Purpose: the rows of channel_metrics that the ledger leaves behind, without the ledger: every conversion has three
-- touches, one in twenty has none (all of it under the last cell), each worth 30.00 USD. All twelve rule models, both bases:
-- five give all to one touch, seven a third to each.
-- Parameters: conversions, seed, hours, first_hour (epoch hours), channels, sources, mediums, campaigns (one entry a cell).
INSERT INTO $channel_metrics
SELECT 'site_bench' AS site, toDateTime(hour_number * 3600, 'UTC') AS hour, {channels:Array(String)}[cell] AS channel,
    {sources:Array(String)}[cell] AS source, {mediums:Array(String)}[cell] AS medium,
    {campaigns:Array(String)}[cell] AS campaign, model, basis, 'purchase' AS conversion_type, 'USD' AS currency,
    toInt64(0) AS hits, toInt64(0) AS page_views, toInt64(0) AS impressions, toInt64(0) AS sessions,
    sum(weight) AS conversions, sum(amount) AS revenue
FROM
(
    SELECT number % 3 AS touch, intDiv(number, 3) AS conversion, shared.1 AS model, shared.2 AS is_shared, basis,
        -- The conversion has one hour, each of its touches one of its own.
        {first_hour:UInt32} + toUInt32(cityHash64(if(basis = 'touch', number, conversion), {seed:UInt32}, 4, basis)
            % {hours:UInt32}) AS hour_number,
        toUInt32(if(cityHash64(conversion, {seed:UInt32}, 5) % 20 = 0, length({channels:Array(String)}),
            1 + cityHash64(number, {seed:UInt32}, 6) % (length({channels:Array(String)}) - 1))) AS cell,
        multiIf(NOT is_shared, toDecimal64('1', 9), touch = 0, toDecimal64('0.333333334', 9),
            toDecimal64('0.333333333', 9)) AS weight,
        if(is_shared, toDecimal64('10', 4), toDecimal64('30', 4)) AS amount
    FROM numbers({conversions:UInt64} * 3)
    ARRAY JOIN [('first_touch', 0), ('last_touch', 0), ('last_non_direct_touch', 0), ('first_paid_touch', 0),
        ('last_paid_touch', 0), ('linear', 1), ('time_decay', 1), ('position_based', 1), ('j_shaped', 1),
        ('inverse_j_shaped', 1), ('w_shaped', 1), ('full_path', 1)] AS shared
    CROSS JOIN (SELECT arrayJoin(['conversion', 'touch']) AS basis) AS bases
    WHERE is_shared OR touch = 0
)
GROUP BY hour_number, cell, model, basis
