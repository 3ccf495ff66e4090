"""What ads cost: platforms' reports read into one canonical fact, and newer figures in place of older ones.

``reading`` turns one file into facts, ``merging`` keeps the newest figure of each key and says which signed entries a
change makes, ``reconciling`` prints totals of the file beside totals of the facts. The formats are tables
(``attribution/tables/spend_*.tsv``). Everything here is pure: bytes and instants come in, values go out.
"""
