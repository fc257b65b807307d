"""The command `weft`: a whole mesh on one machine, started, watched and stopped."""
