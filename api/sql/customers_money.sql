-- Purpose: the rows of customers_booked.sql as whole numbers: conversion, instant (epoch ms), amount (in 1/10,000 of the currency),
-- and the rates (in 1/100,000,000) that convert it: amount * to / from. to is 0 where none is known.
-- Parameters: most (rows).
-- Order of magnitude: that of $rows.
SELECT conversion, reinterpretAsUInt64(toInt64(booked_ms)) AS at_ms, reinterpretAsUInt64(units) AS amount,
    reinterpretAsUInt64($to_rate) AS to_units, reinterpretAsUInt64($from_rate) AS from_units
FROM
(
$rows
)
LIMIT {most:UInt32}
