"""Evolving rules. Independent of the simulator: the function that runs an episode is passed in."""
