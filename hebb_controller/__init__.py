"""Deploy controllers that rewire themselves: evolved Hebbian rules, run online on a robot."""

__version__ = "0.1.0"
