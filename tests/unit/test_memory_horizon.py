"""The memory horizon, on networks whose memory is known."""

import math

import numpy as np
import pytest
from toys import toy_rule, update_spec

from hebb_controller.memory_horizon import memory_horizon
from hebb_controller.network import InitialSpec
from hebb_controller.rule import Rule

OBSERVATIONS = [np.full(6, 0.5, dtype=np.float32)] * 200


def forgetful(decay, *, initial=None):
    """Return a rule that does nothing but decay: A is zero."""
    rule = toy_rule("A", update=update_spec(decay=decay), initial=initial)
    layers = tuple(
        {name: 0 * t if name == "A" else t for name, t in layer.items()} for layer in rule.layers
    )
    return Rule(rule.header, layers)


@pytest.mark.parametrize("decay", [0.5, 0.1])
def test_a_network_that_only_decays_forgets_geometrically(decay):
    # The first network sits at its start, W0. The other's distance to it shrinks by 1 − decay every
    # tick, from |W1 − W0|, and they agree when it is below 1 % of |W0|.
    rule = forgetful(decay)
    ticks = memory_horizon(rule, OBSERVATIONS, np.random.default_rng(3))
    rng = np.random.default_rng(3)
    one, other = (rng.uniform(-0.5, 0.5, rule.n_synapses) for _ in range(2))
    ratio = np.linalg.norm(other - one) / np.linalg.norm(one)
    # The tick at which ratio · (1 − decay)^t falls below 0.01.
    exact = math.log(0.01 / ratio) / math.log(1.0 - decay)
    assert ticks == math.ceil(exact)
    assert abs(exact - round(exact)) > 1e-3  # not decided by rounding


def test_a_network_that_never_forgets_has_no_horizon():
    assert memory_horizon(toy_rule("static"), OBSERVATIONS, np.random.default_rng(0)) is None


def test_an_evolved_start_is_compared_with_other_weights_too():
    rule = forgetful(0.5, initial=InitialSpec("evolved", 1.0))
    assert 2 <= memory_horizon(rule, OBSERVATIONS, np.random.default_rng(0)) <= 20
