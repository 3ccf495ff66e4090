"""ClickHouse: migrations, writer, start-up checks."""
