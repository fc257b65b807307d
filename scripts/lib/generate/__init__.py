"""Sales that nobody made, kept as events are."""
