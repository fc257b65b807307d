"""What must hold after a run, each promise by itself: evidence in, breaches out."""
