"""The pure core: takes values, returns values. No clock, no network, no randomness."""
