"""HTTP intake: answers only when an event is durable."""
