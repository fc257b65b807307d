"""What was sold, as events tell it, and what shoppers looked at before."""
