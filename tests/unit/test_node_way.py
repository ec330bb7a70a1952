"""The way to the default pose, and whether a robot has come along."""

import numpy as np
import pytest

from hebb_controller.node.way import NEAR, PATIENCE, Way

MS = 1_000_000  # ns
N = 12


@pytest.fixture
def way():
    """Return a way that takes half a second, by steps of at most 100 ms."""
    return Way(np.zeros(N), np.full(N, 0.25), 0, max_step=0.1)


def go(way, first, last):
    """Read every 100 ms."""
    return [way.at(ms * MS) for ms in range(first, last + 1, 100)]


def test_it_is_a_straight_line_that_ends_where_it_leads(way):
    targets = np.array(go(way, 100, 700))
    np.testing.assert_allclose(targets[:, 0], [0.05, 0.1, 0.15, 0.2, 0.25, 0.25, 0.25])


def test_it_is_done_at_its_end_and_overdue_when_patience_is(way):
    go(way, 100, 400)
    assert (way.done, way.overdue) == (False, False)
    go(way, 500, 1400)
    assert (way.done, way.overdue) == (True, False)
    go(way, 1500, 1500)
    assert PATIENCE == 1.0
    assert (way.done, way.overdue) == (True, True)


@pytest.mark.parametrize(
    ("away", "astray"), [(0, 0), (3, 0), (4, 0), (5, 5), (12, 12)], ids=lambda n: f"{n}"
)
def test_as_many_joints_may_be_astray_as_a_limp_leg_has_and_one_more(way, away, astray):
    position = np.full(N, 0.25)
    position[:away] -= NEAR + 1e-9
    assert way.astray(position) == astray
    position[:away] += 2 * NEAR
    assert way.astray(position) == 0  # as near as that is near enough
    position[:away] += 2e-9
    assert way.astray(position) == astray


def test_a_joint_that_reads_nothing_is_nowhere(way):
    """The finite stage stands before; a comparison with NaN must not say that the joint has come."""
    assert way.astray(np.full(N, np.nan)) == N
