"""Names and keys shared by everybody who touches Kafka or Redis. Knows no client library.

Redis keys carry the partition as hash tag (``{h3}``), so one atomic script stays in one slot.
"""

from __future__ import annotations

import hashlib
from datetime import date
from struct import unpack

HITS = "headwater.hits.v1"
DEALS = "headwater.deals.v1"
SPEND = "headwater.spend.v1"
CONVERSIONS = "headwater.conversions.v1"
CREDITS = "headwater.credits.v1"
DEAD_LETTERS = "headwater.dead-letters.v1"
HITS_JOURNAL = "headwater.hits-journal.v1"
CONVERSIONS_JOURNAL = "headwater.conversions-journal.v1"
SPEND_JOURNAL = "headwater.spend-journal.v1"
DEALS_JOURNAL = "headwater.deals-journal.v1"
"""What the workers are about to do with the topic that each is named after (``streams.journal``); for nobody else."""
ALL = (
    HITS,
    DEALS,
    SPEND,
    CONVERSIONS,
    CREDITS,
    DEAD_LETTERS,
    HITS_JOURNAL,
    CONVERSIONS_JOURNAL,
    SPEND_JOURNAL,
    DEALS_JOURNAL,
)

VOLATILE_CLUSTER_PREFIX = "hw-mem-"
"""Cluster ids of brokers that keep their log in memory begin so. Every start of such a broker has a new id;
the id is the "broker epoch" beside each offset. A spool for such a broker is kept until the fence has passed."""


def murmur2(data: bytes) -> int:
    """Kafka's murmur2 (org.apache.kafka.common.utils.Utils), as a positive 31-bit number."""
    length = len(data)
    mask = 0xFFFFFFFF
    m = 0x5BD1E995
    h = (0x9747B28C ^ length) & mask
    end = length & ~3
    for k in unpack(f"<{end >> 2}I", data[:end]):
        k = k * m & mask
        h = (h * m ^ (k ^ k >> 24) * m) & mask
    rest = length & 3
    if rest == 3:
        h ^= data[end + 2] << 16
    if rest >= 2:
        h ^= data[end + 1] << 8
    if rest >= 1:
        h ^= data[end]
        h = (h * m) & mask
    h ^= h >> 13
    h = (h * m) & mask
    h ^= h >> 15
    return h & 0x7FFFFFFF


def partition_of(key: str, partitions: int) -> int:
    """The partition Kafka's default partitioner gives ``key`` (a visitor_id or conversion_id)."""
    return murmur2(key.encode()) % partitions


RULES_KEY = "hw:rules"
"""Hash: rules by version, for ranges that were claimed under rules that are no longer configured."""


LEARNT_TABLES_KEY = "hw:learnt:tables"
"""Hash: learnt tables by version."""
LEARNT_ACTIVE_KEY = "hw:learnt:active"
"""Hash: learnt model to the version of the table under which new conversions are credited."""
LEARNT_STATE_KEY = "hw:learnt:state"
"""When learning is due again, and how it went (``streams.learning.LearnState``)."""
PUTTING_AWAY_KEY = "hw:putting-away"
"""There is from one look for timelines that nobody has written for long until the next is due."""
TIMELINE_PREFIX = b"t{h"
"""How keys of timelines begin; the number of their partition follows."""


LEARNT_LEASE_KEY = "hw:learnt:lease"
"""Held by the worker whose child learns."""


POLICIES_KEY = "hw:policies"
"""Hash: attribution policies by version, for conversions that were credited under one that is not active any more."""
RESTATEMENTS_KEY = "hw:restatements"
"""Hash: restatement jobs by id (``streams.restatement``)."""


def fence_key(topic: str, partition: int) -> str:
    """Hash: ``epoch`` (how many owners so far), ``owner``, ``broker`` (cluster id), ``offset`` (next to read),
    ``journal``, ``pending``, ``payload``; of spend also ``step`` (decisions so far)."""
    return f"hw:{{{_tag(topic)}{partition}}}:fence"


def tally_key(partition: int) -> str:
    """String: the tally of the offset range that still grows (``streams.tally``)."""
    return f"hw:{{h{partition}}}:tally"


def tallies_key(partition: int) -> str:
    """List: the tallies of the ranges before it, oldest first; none of them changes any more."""
    return f"hw:{{h{partition}}}:tallies"


def timeline_key(partition: int, site: str, visitor_id: str) -> bytes:
    """String: one visitor's timeline. The id is hashed: fixed length, no personal data in key listings."""
    digest = hashlib.blake2b(f"{site}\0{visitor_id}".encode(), digest_size=12).digest()
    return b"t{h%d}" % partition + digest


def dirty_key(partition: int, topic: str = HITS) -> str:
    """Hash: conversions that the credit agent has still to look at (field = conversion + visitor), as the owner of that
    partition of ``topic`` wishes."""
    return f"hw:{{{_tag(topic)}{partition}}}:dirty"


def spreads_key(partition: int) -> str:
    """Hash: what committed batches mean for other visitors, and nobody has told those yet (``streams.spreads``)."""
    return f"hw:{{h{partition}}}:spreads"


def members_key(site: str, id_: str) -> bytes:
    """Hash: the visitors of an id (``streams.link_store``). It belongs to no partition: any visitor's owner writes."""
    return b"i" + hashlib.blake2b(f"{site}\0{id_}".encode(), digest_size=12).digest()


def conversion_key(partition: int, conversion_id: str) -> str:
    """String: one conversion, its facts and what has been credited."""
    return f"c{{c{partition}}}{conversion_id}"


def outbox_key(partition: int, topic: str = CONVERSIONS) -> str:
    """Hash: rows decided but not yet known to be in ClickHouse (field = batch id)."""
    return f"hw:{{{_tag(topic)}{partition}}}:outbox"


def deal_objects_key(partition: int) -> str:
    """Hash: what CRMs and shops have told of their objects, by object (``streams.deal_states``)."""
    return f"hw:{{d{partition}}}:objects"


def deal_names_key(partition: int) -> str:
    """Hash: by name the objects that are found by it."""
    return f"hw:{{d{partition}}}:names"


def deal_told_key(partition: int) -> str:
    """Hash: by conversion the last that credit was told of it."""
    return f"hw:{{d{partition}}}:told"


def deal_orphans_key(partition: int) -> str:
    """Hash: conversions whose click has not come yet, and since when (``streams.deal_clicks``)."""
    return f"hw:{{d{partition}}}:orphans"


def deal_rules_key(partition: int) -> str:
    """Hash: ``version`` of the rules that everything told follows from; ``mapping``, that of the owner's adapters."""
    return f"hw:{{d{partition}}}:deal-rules"


def remembered_key(partition: int, site: str, event: str) -> bytes:
    """String: an event that a sender has told; it goes when the sender no longer tries again."""
    digest = hashlib.blake2b(f"{site}\0{event}".encode(), digest_size=12).digest()
    return b"r{d%d}" % partition + digest


def about_key(site: str, id_: str) -> bytes:
    """Hash: the conversions that are told to be about an id (``streams.abouts``)."""
    return b"a" + hashlib.blake2b(f"{site}\0{id_}".encode(), digest_size=12).digest()


def awaits_visitors_key(partition: int) -> str:
    """String: there is when a conversion is about some visitor of that partition of hits whom its sender named."""
    return f"hw:{{h{partition}}}:awaits-visitors"


def refused_key(topic: str, partition: int) -> str:
    """Hash: blocks of the range at work that ClickHouse refused, and why (``streams.refusals``)."""
    return f"hw:{{{_tag(topic)}{partition}}}:refused"


def spend_key(partition: int, site: str, ad_network: str, day: date) -> bytes:
    """Hash: newest known spend of a site's network and day (``attribution.spend.kept``; field = ``SpendFact.key``)."""
    place = f"{site}\0{ad_network}\0{day.isoformat()}".encode()
    return b"p{s%d}" % partition + hashlib.blake2b(place, digest_size=12).digest()


def spend_days_key(partition: int) -> str:
    """Hash: every site, network and day of which spend is kept (JSON array; the values are empty)."""
    return f"hw:{{s{partition}}}:days"


def _tag(topic: str) -> str:
    return {HITS: "h", CONVERSIONS: "c", DEALS: "d", SPEND: "s"}[topic]
