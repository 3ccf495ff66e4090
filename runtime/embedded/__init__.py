"""Real servers from wheels for one machine: broker (Tansu), state (Valkey), ClickHouse engine (chDB)."""
