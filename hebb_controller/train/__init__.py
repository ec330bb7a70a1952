"""Evolving rules. Knows no simulator: it is given a function that runs an episode."""
