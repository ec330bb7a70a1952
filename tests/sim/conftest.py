"""What the tests with the simulator share."""

import numpy as np
import pytest
from toys import toy_rule, update_spec

from hebb_controller.cli.presets import CHANNELS
from hebb_controller.controller import controller_for
from hebb_controller.robot import load_robot
from hebb_controller.rule_file import save_rule
from hebb_controller.signals import Command, Mode
from hebb_sim.world import World


@pytest.fixture(scope="session")
def a1():
    return load_robot("a1")


@pytest.fixture(scope="session")
def a1_rule(a1):
    """Return a rule that nobody evolved, for the shipped robot: it flails."""
    update = update_spec(interval=4, trace_window=10.0, decay=0.04, normalisation="clip", bound=3.0)
    return toy_rule(
        robot=a1, channels=CHANNELS, hidden=(16,), update=update, scale=0.15, tick_period=0.02
    )


@pytest.fixture
def rule_path(tmp_path, a1_rule):
    path = tmp_path / "a1.rule.safetensors"
    save_rule(a1_rule, path)
    return path


@pytest.fixture
def controller(a1_rule, a1):
    return controller_for(a1_rule, a1)


@pytest.fixture
def world(a1):
    world = World(a1)
    yield world
    world.close()


@pytest.fixture
def command(a1):
    """Return a function that makes a command: ``command(positions)``."""

    def make(position=None, mode=Mode.POSITION):
        return Command(mode, a1.default if position is None else np.array(position), a1.kp, a1.kd)

    return make


@pytest.fixture
def wiggle(a1):
    """Return a function of the tick: targets that swing by up to 0.3 rad at 2 Hz."""
    size = 0.3 * np.tile([0.3, 1.0, -1.0], 4)
    return lambda tick: a1.default + size * np.sin(2 * np.pi * 2.0 * 0.02 * tick)
