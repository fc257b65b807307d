"""What the shop adds to the command `weft`."""
