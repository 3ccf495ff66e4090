"""Credit for many paths at once: the same whole numbers as ``attribution.models`` and ``attribution.money``, by numpy.

``Paths`` holds the touchpoints of many paths in flat arrays, ``parts_of`` divides all of them under one model,
``share_by_parts`` shares totals in whole units, to the same unit as one path at a time. ``JourneySums`` adds up what
learnt models need.
"""

from attribution.bulk.divisions import BULK_DIVISIONS, parts_of
from attribution.bulk.journeys import JourneySums
from attribution.bulk.paths import NEVER, Paths
from attribution.bulk.shares import share_by_parts, sum_by_channel

__all__ = ["BULK_DIVISIONS", "NEVER", "JourneySums", "Paths", "parts_of", "share_by_parts", "sum_by_channel"]
