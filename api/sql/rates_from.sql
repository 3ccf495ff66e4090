-- The first day (since 1970) whose rates are needed: the one asked for; without a date range the first that has anything.
greatest({fx_from:UInt32}, (SELECT toUInt32(toDate(min(hour), 'UTC')) FROM $all_metrics WHERE {fx_from:UInt32} = 0))
