-- Purpose: every link that may join visitors, for counting people: visitors and ids by hash. about: kind (1 = user,
-- 2 = e-mail, 3 = CRM contact), + 4 if the id is the visitor's own name, + 8 if the link holds.
-- $known: as of an instant what was recorded by then.
-- Order of magnitude: 0.7 s per million links and core.
SELECT visitor, link, any(what) + if(sum(sign) > 0, 8, 0) AS about
FROM
(
    SELECT sipHash64(site, visitor_id) AS visitor, sipHash64(site, id) AS link, sign,
        toUInt64(multiIf(startsWith(id, 'user:'), 1, startsWith(id, 'email:'), 2, 3)
            + if(id = if(startsWith(visitor_id, 'user:'), visitor_id, concat('user:', visitor_id)), 4, 0)) AS what
    FROM $identity_links
    WHERE NOT startsWith(id, 'account:') AND $known
)
GROUP BY visitor, link
