"""What users and administrators are told."""
