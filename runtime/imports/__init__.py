"""Bulk load: hits from CSV, JSONL or Parquet and web servers' access logs, through the collector's door."""
