"""Fixtures for these tests."""

from hebb_controller.testing import simulate

__all__ = ["simulate"]
