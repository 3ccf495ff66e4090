-- As grouped.sql, but with parts p_* that are added up with those of other arms; of money by currency and day, if it is
-- converted.
-- Order of magnitude: grouped.sql; if money is converted, 50 ms per million rows of group, currency and day on top.
SELECT $keys_as$of_money, $parts
FROM $facts
WHERE $where
GROUP BY $keys$by_money
