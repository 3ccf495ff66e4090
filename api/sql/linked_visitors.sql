-- The visitors of a group whom any id names: most people are one visitor and are not listed. Fragment of
-- grouped_with_visitors.sql.
groupArrayIf(sipHash64(of_site, visitor_id), sipHash64(of_site, visitor_id) IN
    (SELECT sipHash64(site, visitor_id) FROM $identity_links WHERE NOT startsWith(id, 'account:')))
