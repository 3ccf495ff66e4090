"""How a worker process ends, for whoever starts it again."""

EXIT_MISCONFIGURED = 2
"""A person must change something."""
EXIT_FAILED = 70
"""Something unexpected, or another worker owns a partition by now: the next one takes over from the fence."""
EXIT_BROKER_CHANGED = 75
"""The broker is another one: its offsets begin anew."""
EXIT_STUCK = 76
"""No progress any more (``streams/watchdog.py``)."""

ENDS_TO_BEGIN_AGAIN = frozenset({EXIT_FAILED, EXIT_BROKER_CHANGED, EXIT_STUCK})
"""It ended so that another one can begin: start it again, even if it was only just starting."""
