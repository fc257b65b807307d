"""The money of orders."""
