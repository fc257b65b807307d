"""What is on the shelves, and what is promised to orders."""
