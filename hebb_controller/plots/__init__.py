"""Plots and films of what happened. Needs the ``plot`` extra."""

import matplotlib as mpl

mpl.use("Agg")
