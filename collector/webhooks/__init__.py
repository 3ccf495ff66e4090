"""Who really sent a webhook: pure checks on raw bytes, one module per sender. Knows no socket, clock or store."""
