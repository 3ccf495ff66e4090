"""Faust app and agents that move events; visitor and conversion state in Redis."""
