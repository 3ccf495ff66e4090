"""From an ad click to closed revenue with what it cost: one story, played to a system of its own, right to the cent.

    python -m bench.closed_loop

Exit code 0 when at every step every figure is the one written down in ``story.py``.
"""
