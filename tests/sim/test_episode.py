"""Episodes: nothing leaks from one into another, and the record says what happened."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import lfilter

from hebb_controller.controller import Controller, Interface, controller_for
from hebb_controller.observation import Channel, Observer
from hebb_controller.rule_file import save_rule
from hebb_controller.signals import Limit
from hebb_controller.train.executor import TaskRunner, local_processes
from hebb_sim.condition import Condition
from hebb_sim.damage import parse_damages
from hebb_sim.episode import EpisodeRunner, run_episode, world_for
from hebb_sim.world import World

SECONDS = 1.2


def condition(a1, text, onset=0.4, healed=math.inf, **fields):
    return Condition(SECONDS, parse_damages(text, a1), onset, healed, **fields)


@pytest.fixture(scope="module")
def conditions(a1):
    """Return one condition for each way to disturb what comes after it."""
    return {
        "whole": Condition(SECONDS),
        "limp": condition(a1, "FR:limp"),
        "weak": condition(a1, "RL:weak:0.2"),
        "locked leg": condition(a1, "FL:locked"),
        "locked joint, healed": condition(a1, "RR_lower_joint:locked", healed=0.8),
        "falls": condition(a1, "FR:limp,FL:limp,RR:limp,RL:limp", onset=0.0),
        "all kinds at once": condition(a1, "FR:limp,FL:weak:0.5,RL:locked"),
    }


def same(one, other):
    return (
        one.fallen == other.fallen
        and one.position.tobytes() == other.position.tobytes()
        and one.heading.tobytes() == other.heading.tobytes()
        and one.power.tobytes() == other.power.tobytes()
        and one.damaged.tobytes() == other.damaged.tobytes()
        and one.beyond_limits.tobytes() == other.beyond_limits.tobytes()
    )


@pytest.fixture(scope="module")
def alone(a1, a1_rule, conditions):
    """Return every episode as the first of a new world."""
    records = {}
    for name, each in conditions.items():
        world = World(a1)
        records[name] = run_episode(controller_for(a1_rule, a1), world, each, 11)
        world.close()
    return records


def test_the_episodes_are_what_their_names_say(alone):
    whole = alone["whole"]
    assert alone["falls"].fallen
    assert alone["falls"].ticks < 60 == alone["falls"].planned_ticks
    for name, record in alone.items():
        assert np.isfinite(record.position).all()
        if name != "whole":
            assert not same(record, whole)
    healed = alone["locked joint, healed"]
    if healed.ticks >= 40:
        assert healed.damaged.nonzero()[0].tolist() == list(range(20, 40))


@pytest.mark.parametrize(
    "first",
    ["whole", "limp", "weak", "locked leg", "locked joint, healed", "falls", "all kinds at once"],
)
def test_an_episode_is_the_same_bits_after_any_other(a1, a1_rule, conditions, alone, first):
    controller = controller_for(a1_rule, a1)
    for second, each in conditions.items():
        world = World(a1)
        run_episode(controller, world, conditions[first], 5)
        assert same(run_episode(controller, world, each, 11), alone[second]), second
        world.close()


@pytest.mark.parametrize("order", [0, 1, 2])
def test_a_long_chain_of_episodes_leaks_nothing(*, a1, a1_rule, conditions, alone, world, order):
    controller = controller_for(a1_rule, a1)
    names = [name for name in conditions for _ in range(3)]
    np.random.default_rng(order).shuffle(names)
    for i, name in enumerate(names):
        assert same(run_episode(controller, world, conditions[name], 11), alone[name]), (i, name)
        run_episode(controller, world, conditions[names[-i]], 100 + i)


def test_the_seed_decides_the_episode(controller, world):
    records = [run_episode(controller, world, Condition(0.4), seed) for seed in (1, 1, 2)]
    assert same(records[0], records[1])
    assert not same(records[0], records[2])


class Watcher:
    """A network that swings all legs and keeps what it saw."""

    plasticity_gain = 1.0

    def __init__(self):
        self.seen = []
        self._swing = np.tile([0.1, 0.5, -0.5], 4)

    def reset(self, rng):
        self.seen = []

    def step(self, observation):
        self.seen.append(observation)
        return (self._swing * math.sin(0.25 * len(self.seen))).astype(np.float32)


def watched(robot, *names):
    observer = Observer([Channel(name, 1.0, 100.0) for name in names], robot)
    return Controller(robot, Interface(observer, robot.default, np.ones(12), 0.02), Watcher())


def test_a_velocity_is_commanded_from_the_first_tick_to_the_last_and_not_in_the_next_episode(
    a1, world
):
    controller = watched(a1, "velocity_command")
    run_episode(controller, world, Condition(0.2, velocity_command=(0.5, -0.25, 2.0)), 1)
    assert np.array(controller.runtime.seen).tolist() == [[0.5, -0.25, 2.0]] * 10
    run_episode(controller, world, Condition(0.2), 1)
    assert np.array(controller.runtime.seen).tolist() == [[0.0] * 3] * 10


def test_estimated_velocities_are_those_of_the_positions_that_the_sensors_told(a1):
    """Against scipy's filter, whose input are differences of the positions that were seen."""
    robot = replace(a1, velocity_cutoff=8.0)
    controller = watched(robot, "joint_position", "joint_velocity")
    world = World(robot)
    noisy = Condition(SECONDS, background=parse_damages("sensors:noise:0.01", a1))
    run_episode(controller, world, noisy, 3)
    truth = world.truth.joint_velocity
    world.close()
    position, velocity = np.split(np.array(controller.runtime.seen, dtype=np.float64), 2, axis=1)
    pole = math.exp(-2.0 * math.pi * 8.0 * 0.02)
    speed = np.diff(position, axis=0, prepend=position[:1]) / 0.02
    expected = lfilter([1.0 - pole], [1.0, -pole], speed, axis=0)
    # positions were seen as float32: 2**-24 of up to 3 rad, twice, in 0.02 s; and speeds up to 20
    assert np.abs(velocity - expected).max() < 2 * 3 * 2.0**-24 / 0.02 + 20 * 2.0**-24
    assert np.abs(velocity[-1] - truth).max() > 0.01


def test_the_weights_may_have_a_seed_of_their_own(controller, world):
    def start(seed, weight_seed):
        run_episode(controller, world, Condition(0.02, weight_seed=weight_seed), seed)
        return controller.runtime.state["initial"].tobytes()

    assert start(1, 7) == start(2, 7)
    assert start(1, None) != start(2, None)
    assert start(1, 7) != start(1, None)


class Stand:
    """A network that says nothing: the robot stands."""

    plasticity_gain = 1.0

    def __init__(self, action=0.0):
        self.action = action

    def reset(self, rng):
        pass

    def step(self, observation):
        return np.full(12, self.action, dtype=np.float32)

    @property
    def state(self):
        return {}

    def restore(self, state):
        raise NotImplementedError


def test_a_robot_that_stands_does_not_go_anywhere(controller, world, a1):
    standing = Controller(a1, controller.interface, Stand())
    record = run_episode(standing, world, Condition(2.0), 0)
    assert not record.fallen
    assert record.ticks == record.planned_ticks == 100
    # It starts up to 0.1 rad off in each joint: a thigh of 0.2 m turns by 0.1 rad, a shank by 0.2,
    # so a foot may be 0.06 m away from where it should be; 0.18 m from the middle that is 0.34 rad.
    assert np.linalg.norm(record.position[:, :2], axis=1).max() < 0.06
    assert np.abs(record.heading).max() < 0.34
    assert not record.damaged.any()
    assert (record.power >= 0).all()
    assert record.beyond_limits.max() == 0.0


def test_positions_are_told_in_the_frame_of_the_initial_heading(controller, world):
    """Pushed along its own x axis, the robot goes along x, wherever it looks."""
    import pybullet

    from hebb_controller.rotation import yaw

    class Pushed(Stand):
        def step(self, observation):
            turn = self.turn
            pybullet.resetBaseVelocity(
                world._body,
                [math.cos(turn), math.sin(turn), 0.0],
                physicsClientId=world._client,
            )
            return super().step(observation)

    for seed in range(3):
        network = Pushed()
        network.turn = yaw(world.reset(np.random.default_rng((seed, 0))).orientation)
        pushed = Controller(world.robot, controller.interface, network)
        record = run_episode(pushed, world, Condition(0.1), seed)
        assert record.position[-1, 0] > 0.02
        assert abs(record.position[-1, 1]) < 0.3 * record.position[-1, 0]


def test_a_heading_to_keep_that_lies_aside_is_seen_and_recorded(controller, world, a1):
    """A robot that only stands keeps its error; what it then walks is told along that heading."""
    turn = 0.2  # to the left
    seen = []

    class Watching(Stand):
        def step(self, observation):
            seen.append(observation[controller.interface.observer.slices["heading"]].copy())
            return super().step(observation)

    standing = Controller(a1, controller.interface, Watching())
    aside = run_episode(standing, world, Condition(0.5, turn=turn), 0)
    ahead = run_episode(standing, world, Condition(0.5), 0)
    # the channel's scale is 3, and it is clipped at 1
    assert seen[0] == pytest.approx([3.0 * math.sin(-turn), 1.0], abs=1e-6)
    assert aside.heading == pytest.approx(ahead.heading - turn, abs=1e-12)
    x, y = ahead.position[:, 0], ahead.position[:, 1]
    assert aside.position[:, 0] == pytest.approx(x * math.cos(turn) + y * math.sin(turn))
    assert aside.position[:, 1] == pytest.approx(y * math.cos(turn) - x * math.sin(turn))


def test_an_episode_ends_with_the_fall(controller, world, a1):
    limp = Condition(4.0, parse_damages("FR:limp,FL:limp,RR:limp,RL:limp", a1), 1.0)
    record = run_episode(Controller(a1, controller.interface, Stand()), world, limp, 0)
    assert record.fallen
    assert 50 < record.ticks < 100  # a fall of some 10 cm, damped by the joints' friction
    assert record.duration == 4.0
    assert record.damaged.tolist() == [False] * 50 + [True] * (record.ticks - 50)


def test_a_network_that_is_not_finite_ends_the_episode(controller, world, a1):
    broken = Controller(a1, controller.interface, Stand(math.nan))
    record = run_episode(broken, world, Condition(1.0), 0)
    assert record.fallen
    assert record.ticks == 0


def test_commands_stay_within_the_joints_limits_in_every_tick(controller, world, a1):
    """The same loop as an episode, looking at every command of a network that flails."""
    for seed in range(3):
        reading = world.reset(np.random.default_rng(seed))
        controller.reset(np.random.default_rng(seed), reading.joint_position)
        last = reading.joint_position
        for _ in range(100):
            command = controller.step(reading, reading.received)
            if command.limits.tripped:
                assert command.limits.acted is Limit.TILT
                break
            assert (command.position >= a1.lower).all()
            assert (command.position <= a1.upper).all()
            assert (np.abs(command.position - last) <= 17.5 * 0.02 + 1e-12).all()
            last = command.position
            reading = world.step(command)


def test_a_process_has_one_world_for_a_robot():
    assert world_for("a1", 0.02) is world_for("a1", 0.02)


def test_a_rule_ticks_with_its_own_period(a1, a1_rule):
    header = replace(a1_rule.header, tick_period=0.01)
    controller = controller_for(replace(a1_rule, header=header), a1)
    record = EpisodeRunner("a1")(controller, Condition(SECONDS), 0)
    assert record.period == 0.01
    assert EpisodeRunner("a1")(controller_for(a1_rule, a1), Condition(SECONDS), 0).period == 0.02


def test_the_number_of_workers_does_not_matter(tmp_path, a1, a1_rule, conditions, alone):
    from hebb_controller.train.source import Source
    from hebb_controller.train.suite import Share, Trial, run_share

    path = tmp_path / "a1.rule.safetensors"
    save_rule(a1_rule, path)
    # Three episodes a share; the condition at place i has seed 9 + i.
    names = list(conditions)
    groups = [names[:3], names[3:6], names[6:] + names[:2]]
    shares = [
        Share(
            Source(str(path), "a1"),
            tuple(Trial(conditions[name], 0.0, 9 + i) for i, name in enumerate(group)),
            EpisodeRunner("a1"),
        )
        for group in groups
    ]
    here = [record for share in shares for record in run_share(share)]
    for workers in (1, 2):
        with TaskRunner(local_processes(workers)) as runner:
            there = [record for part in runner.map(run_share, shares) for record in part]
        assert len(there) == len(here) == 9
        assert all(same(one, other) for one, other in zip(here, there, strict=True))
    # the third of each share has seed 11, like those that ran alone
    assert same(here[2], alone[groups[0][2]])
    assert same(here[5], alone[groups[1][2]])
    assert same(here[8], alone[groups[2][2]])


def test_without_plasticity_the_weights_stay_as_they_were_drawn(a1, a1_rule, world):
    controller = controller_for(a1_rule, a1)
    controller.runtime.plasticity_gain = 0.0
    run_episode(controller, world, Condition(0.4), 1)
    state = controller.runtime.state
    assert state["weights"].tobytes() == state["initial"].tobytes()


def test_a_runner_can_be_sent_to_another_process():
    import pickle

    assert pickle.loads(pickle.dumps(EpisodeRunner("a1"))) == EpisodeRunner("a1")
