-- Purpose: the links by which several visitors are one person, or of one company, past the guards of a single visitor and
-- a single id (attribution.persons: shared devices, hubs, crowds, blocked ids). How large a person may be is not judged
-- here.
-- Parameters: site String ('' = all); blocked String: a pattern of values that stand for nobody, '' = none; users, emails, contacts UInt32: of a
-- visitor, at most; per_id, closed UInt32: visitors of an id, and that it ever had, at most; accounts UInt8: companies,
-- too; per_account, account_closed UInt32: the same of a company.
-- Order of magnitude: a million links in a second; answers a row for each link of an id that several visitors share.
SELECT cityHash64(site, member) AS visitor, cityHash64(site, id) AS id_hash, toUInt64(is_account) AS is_company
FROM
(
    SELECT site, id, startsWith(id, 'account:') AS is_account, groupArrayIf(visitor_id, is_held AND NOT is_shared) AS members
    FROM
    (
        SELECT site, visitor_id, link.1 AS id, link.2 AS is_held, is_shared
        FROM
        (
            SELECT
                site, visitor_id, groupArray((id, is_held)) AS links,
                if(startsWith(visitor_id, 'user:'), visitor_id, concat('user:', visitor_id)) AS own_name,
                countIf(is_held AND startsWith(id, 'user:') AND id != own_name) > {users:UInt32}
                    OR countIf(is_held AND startsWith(id, 'email:')) > {emails:UInt32}
                    OR countIf(is_held AND startsWith(id, 'crm:')) > {contacts:UInt32} AS is_shared
            FROM
            (
                SELECT site, visitor_id, id, sum(sign) > 0 AS is_held
                FROM $identity_links
                WHERE ({site:String} = '' OR site = {site:String})
                    AND NOT ({blocked:String} != '' AND match(substring(id, position(id, ':') + 1), {blocked:String}))
                GROUP BY site, visitor_id, id
            )
            GROUP BY site, visitor_id
        )
        ARRAY JOIN links AS link
    )
    WHERE {accounts:UInt8} OR NOT startsWith(id, 'account:')
    GROUP BY site, id
    HAVING length(members) > 1
        AND countIf(is_held) <= if(is_account, {per_account:UInt32}, {per_id:UInt32})
        AND count() <= if(is_account, {account_closed:UInt32}, {closed:UInt32})
)
ARRAY JOIN members AS member
