"""Runtimes: a rule made to run."""
