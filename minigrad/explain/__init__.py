"""Readers of a recorded graph that say in words and formulas what it computes."""
