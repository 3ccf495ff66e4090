"""Models that are learnt from past journeys, those that converted and those that did not."""
