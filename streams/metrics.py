"""What can be observed of a worker: every metric with its meaning, in one place."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

HITS = Counter("headwater_worker_hits_total", "Hits that became rows of `hits`.")
DROPPED = Counter("headwater_worker_dropped_total", "Hits refused on purpose.", ["reason"])
CLICK_COSTS = Counter(
    "headwater_worker_click_costs_total",
    "Hits whose address tells what their click cost: `counted`, or why it does not count.",
    ["reason"],
)
IDS_REFUSED = Counter(
    "headwater_worker_ids_refused_total",
    "Ids that link nobody although a hit names them; the hit is kept.",
    ["reason"],
)
SPREADS = Counter("headwater_worker_spreads_total", "Batches that concerned visitors other than their own.")
DEAD_LETTERED = Counter("headwater_worker_dead_lettered_total", "Inputs kept as dead letters.", ["reason"])
DELIVERIES = Counter(
    "headwater_worker_deliveries_total",
    "What CRMs, shops and networks delivered, by what became of it.",
    ["source", "outcome"],
)
DEAL_PROBLEMS = Counter(
    "headwater_worker_deal_problems_total",
    "What could not be taken as a sender said it, or a refund as a hit says it.",
    ["reason"],
)
PUT_AWAY = Counter(
    "headwater_worker_timelines_put_away_total",
    "Timelines that left Redis because nobody had written them for long.",
)
RECALLED = Counter(
    "headwater_worker_timelines_recalled_total", "Timelines that were put away and made again from `hits`."
)
BATCHES = Counter("headwater_worker_batches_total", "Batches committed.", ["topic"])
BATCH_SECONDS = Histogram(
    "headwater_worker_batch_seconds", "Seconds from claim to commit of a batch.", ["topic"]
)
CREDITED = Counter("headwater_worker_conversions_credited_total", "Conversions whose ledger was corrected.")
ENTRIES = Counter("headwater_worker_ledger_entries_total", "Signed entries appended to the ledger.")
SPEND_ROWS = Counter("headwater_worker_spend_rows_total", "Signed rows appended to `spend`.", ["cause"])
PARTITIONS = Gauge("headwater_worker_partitions", "Partitions this worker owns.")
STUCK = Gauge(
    "headwater_worker_stuck_seconds",
    "Longest time that something to be done showed no sign of life. Waiting for an absent store does not count.",
)
LAG = Gauge("headwater_worker_lag_seconds", "Age of the oldest record that waits to be processed.")
BUFFERED = Gauge(
    "headwater_worker_buffered_bytes", "Bytes of records that this worker holds and has not begun to process."
)
RECOVERED = Counter("headwater_worker_recovered_ranges_total", "Pending ranges of an earlier owner finished.")
RECOVERY_MISMATCH = Counter(
    "headwater_worker_recovery_mismatch_total",
    "Recovered ranges whose rows in ClickHouse are not the expected ones.",
)
AUDIT_DIFFERENCE = Gauge(
    "headwater_audit_difference",
    "Differences that the self-audit found and confirmed; 0 is right.",
    ["check"],
)
AUDIT_LAST_SUCCESS = Gauge(
    "headwater_audit_last_success_timestamp_seconds", "When the self-audit last finished a pass; 0 = never."
)
AUDIT_COVERED_FROM = Gauge(
    "headwater_audit_covered_from_timestamp_seconds",
    "Everything that was there at this time has been compared since; 0 = not yet.",
    ["axis"],
)
AUDIT_COMPARED = Gauge("headwater_audit_compared_slices", "Slices compared so far, by all workers.", ["axis"])
AUDIT_PASS_SECONDS = Gauge("headwater_audit_pass_seconds", "How long the last pass of the self-audit took.")
AUDIT_FAILURES = Counter(
    "headwater_audit_failures_total",
    "Parts of a pass that this worker could not compare, and passes that broke.",
)
