"""A made-up market whose truth is known, and the client that plays it to a collector."""
