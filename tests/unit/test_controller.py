"""One tick: observe → step → limit, and what trips leaves the network alone."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from toys import CHANNELS, PERIOD, toy_document, toy_reading, toy_robot, toy_rule, update_spec

from hebb_controller.controller import Controller, Interface, controller_for, interface_for
from hebb_controller.errors import ContractError, ShapeError
from hebb_controller.observation import Channel, Observer
from hebb_controller.robot import parse_robot
from hebb_controller.runtime.numpy_runtime import NumpyRuntime
from hebb_controller.signals import Limit, Mode


class Script:
    """A network that returns what it is told, and keeps what it was shown."""

    plasticity_gain = 1.0

    def __init__(self, *actions):
        self.actions = [np.array(action, dtype=np.float32) for action in actions]
        self.seen = []
        self.resets = 0

    def reset(self, rng):
        self.resets += 1

    def step(self, observation):
        self.seen.append(observation)
        return self.actions[len(self.seen) - 1]

    @property
    def state(self):
        return {}

    def restore(self, state):
        raise NotImplementedError


def scripted(*actions, robot=None):
    robot = robot or toy_robot()
    interface = Interface(
        observer=Observer(CHANNELS, robot),
        default=robot.default,
        action_scale=np.array([0.5, 0.25]),
        period=PERIOD,
    )
    controller = Controller(robot, interface, Script(*actions))
    controller.reset(np.random.default_rng(0))
    return controller


def test_an_action_of_one_adds_the_action_scale_to_the_default_pose():
    # default (0.25, 0), scale (0.5, 0.25): 0.25 + 0.5 · 0.25 and 0 − 0.25 · 0.5
    controller = scripted((0.25, -0.5))
    command = controller.step(toy_reading(controller.robot), 0.0)
    assert command.mode is Mode.POSITION
    assert command.position.tolist() == [0.375, -0.125]
    assert command.kp.tolist() == [8.0, 16.0]
    assert command.kd.tolist() == [1.0, 1.0]
    assert command.limits.acted is Limit.NONE


def test_a_tick_observes_then_steps_then_limits():
    controller = scripted((1.0, 0.0), (1.0, 0.0))
    first = controller.step(toy_reading(controller.robot), 0.0)
    # wants 0.75, may move by 0.25 from 0.25
    assert first.position.tolist() == [0.5, 0.0]
    assert first.limits.acted is Limit.RATE
    controller.step(toy_reading(controller.robot, PERIOD), PERIOD)
    # the second observation sees the bounded command of the first: joint_position, tracking_error
    assert controller.runtime.seen[0][:4].tolist() == [0.0, 0.0, 0.0, 0.0]
    assert controller.runtime.seen[1][:4].tolist() == [0.0, 0.0, 0.25, 0.0]
    assert controller.last_observation is controller.runtime.seen[1]
    assert controller.last_action.tolist() == [1.0, 0.0]
    assert controller.last_position.tolist() == [0.75, 0.0]


BAD_READINGS = {
    Limit.FINITE: ({"joint_velocity": (math.nan, 0.0)}, 0.0),
    Limit.STALE: ({}, 0.3),
    Limit.TILT: ({"orientation": Rotation.from_euler("x", 2.0).as_quat()}, 0.0),
}


@pytest.mark.parametrize("limit", BAD_READINGS, ids=lambda limit: limit.name)
def test_a_reading_that_trips_does_not_reach_the_network(limit):
    robot = toy_robot()
    rule = toy_rule(update=update_spec(trace_window=4.0, interval=2))
    controller, undisturbed = controller_for(rule, robot), controller_for(rule, robot)
    fields, late = BAD_READINGS[limit]
    for each in (controller, undisturbed):
        each.reset(np.random.default_rng(1))
        each.step(toy_reading(robot), 0.0)
    before = {name: array.tobytes() for name, array in controller.runtime.state.items()}
    position = controller.last_position.copy()
    command = controller.step(toy_reading(robot, PERIOD, **fields), PERIOD + late)
    assert command.limits.acted is limit
    assert command.mode is Mode.DAMP
    assert {k: v.tobytes() for k, v in controller.runtime.state.items()} == before
    assert controller.last_position.tolist() == position.tolist()
    # and the run goes on as if it had not been
    after = [c.step(toy_reading(robot, 2 * PERIOD), 2 * PERIOD) for c in (controller, undisturbed)]
    assert after[0].position.tobytes() == after[1].position.tobytes()


def test_a_bad_first_reading_does_not_set_the_heading_to_keep():
    robot = toy_robot()
    controller = scripted((0.0, 0.0))
    broken = toy_reading(robot, 5.0, orientation=(math.nan, 0.0, 0.0, 1.0))
    controller.step(broken, 5.0)
    controller.step(toy_reading(robot, 7.0), 7.0)
    assert controller.runtime.seen[0][4:].tolist() == [0.0, 1.0]  # the clock starts at 7 s


@pytest.mark.parametrize(("action", "mode"), [("damp", Mode.DAMP), ("hold", Mode.POSITION)])
def test_a_network_that_is_not_finite_leads_to_the_safe_action(action, mode):
    controller = scripted((0.25, 0.0), (math.nan, 0.0), robot=toy_robot(safe_action=action))
    controller.step(toy_reading(controller.robot), 0.0)
    command = controller.step(toy_reading(controller.robot, PERIOD), PERIOD)
    assert command.mode is mode
    assert command.limits.acted is Limit.FINITE
    assert controller.last_position.tolist() == [0.375, 0.0]
    if mode is Mode.POSITION:
        assert command.position.tolist() == [0.375, 0.0]


def test_moving_to_a_pose_takes_one_rad_per_second_and_does_not_tick_the_network():
    controller = scripted()
    robot = controller.robot
    positions = []
    for tick in range(4):
        reading = toy_reading(robot, tick * PERIOD, joint_position=controller.last_position.copy())
        command = controller.move_to(np.array([0.75, 9.0]), reading, tick * PERIOD)
        positions.append(command.position.tolist())
    assert positions == [[0.375, 0.125], [0.5, 0.25], [0.625, 0.375], [0.75, 0.5]]
    assert controller.runtime.seen == []
    tripped = controller.move_to(np.zeros(2), toy_reading(robot), 9.0)
    assert tripped.limits.acted is Limit.STALE
    assert tripped.mode is Mode.DAMP


def test_a_reset_starts_from_the_pose_it_is_told_or_the_default():
    controller = scripted()
    mine = np.array([0.5, 0.5])
    controller.reset(np.random.default_rng(0), mine)
    mine[:] = 9.0
    assert controller.last_position.tolist() == [0.5, 0.5]
    controller.reset(np.random.default_rng(0))
    assert controller.last_position.tolist() == [0.25, 0.0]
    assert controller.runtime.resets == 3


def test_a_reset_forgets_what_the_network_saw_and_did_last(robot):
    controller = controller_for(toy_rule(), robot)
    controller.reset(np.random.default_rng(0))
    controller.step(toy_reading(robot), 0.0)
    assert controller.last_action.any()
    assert controller.last_observation.any()
    controller.reset(np.random.default_rng(0))
    assert not controller.last_action.any()
    assert not controller.last_observation.any()


def test_nobody_else_can_move_what_the_rate_limit_starts_from():
    controller = scripted([0.0, 0.0])
    command = controller.step(toy_reading(controller.robot), 0.0)
    assert command.mode is Mode.POSITION
    with pytest.raises(ValueError, match="read-only"):
        command.position[0] = 9.0


@pytest.mark.parametrize(
    "fields",
    [
        {"joint_position": np.zeros(3)},
        {"joint_velocity": np.zeros(1)},
        {"orientation": np.array([0.0, 0.0, 1.0])},
        {"angular_velocity_base": np.zeros(4)},
        {"velocity_command": np.zeros((3, 1))},
    ],
)
def test_a_reading_of_another_shape_is_refused_by_name(fields):
    controller = scripted()
    with pytest.raises(ShapeError, match="robot 'toy' must have shapes"):
        controller.step(toy_reading(controller.robot, **fields), 0.0)
    assert controller.runtime.seen == []


def test_a_rule_is_wired_as_it_was_trained(robot):
    rule = toy_rule()
    interface = interface_for(rule, robot)
    assert interface.default.tolist() == [0.25, 0.0]
    assert interface.action_scale.tolist() == [0.5, 0.5]
    assert interface.period == PERIOD
    assert interface.observer.size == 6
    controller = controller_for(rule, robot)
    assert isinstance(controller.runtime, NumpyRuntime)


def another(change):
    document = toy_document()
    change(document)
    return parse_robot(document, where="other")


def swap_joints(document):
    document["joints"] = dict(reversed(document["joints"].items()))


def rename_joint(document):
    document["joints"] = {"knee": document["joints"]["knee"], "toe": document["joints"]["hip"]}
    document["legs"] = {"left": ["knee", "toe"]}


def drop_joint(document):
    del document["joints"]["hip"]
    document["legs"] = {"left": ["knee"]}


def add_joint(document):
    document["joints"]["toe"] = document["joints"]["hip"]


def change_joint(field, value):
    return lambda document: document["joints"]["knee"].update({field: value})


OTHER_ROBOTS = [
    (swap_joints, "the joints are in another order"),
    (rename_joint, "the robot has no hip"),
    (drop_joint, "the robot has no hip"),
    (add_joint, "the rule does not know toe"),
    (change_joint("kp", 9.0), "joint 'knee': trained with kp 8, robot 'toy' has 9"),
    (change_joint("kd", 2.0), "joint 'knee': trained with kd 1, robot 'toy' has 2"),
    (change_joint("default", 0.26), "trained with default 0.25 rad, robot 'toy' has 0.26"),
    (change_joint("lower", -0.5), "trained with lower -1, beyond the limit -0.5"),
    (change_joint("upper", 1.0), "trained with upper 1.5, beyond the limit 1 "),
    (change_joint("torque", 3.0), "trained with torque 4, beyond the limit 3 "),
    (change_joint("max_target_rate", 1.0), "trained with max_target_rate 2, beyond the limit 1 "),
]


@pytest.mark.parametrize(("change", "message"), OTHER_ROBOTS, ids=[m for _, m in OTHER_ROBOTS])
def test_another_robot_is_refused_and_the_disagreement_named(change, message):
    with pytest.raises(ContractError, match=message):
        controller_for(toy_rule(), another(change))


MOVING = (*CHANNELS, Channel("joint_velocity", scale=1.0, clip=4.0))


def trained_with(cutoff, channels):
    rule = toy_rule(channels=channels)
    contract = replace(rule.header.contract, velocity_cutoff=cutoff)
    return replace(rule, header=replace(rule.header, contract=contract))


def estimating(cutoff):
    def change(document):
        if cutoff is not None:
            document["joint_velocity"] = {"source": "estimated", "cutoff": cutoff}

    return another(change)


@pytest.mark.parametrize(
    ("trained", "has", "message"),
    [
        (
            None,
            8.0,
            "velocities measured, those of robot 'toy' are estimated with a cutoff of 8 Hz",
        ),
        (
            8.0,
            None,
            "velocities estimated with a cutoff of 8 Hz, those of robot 'toy' are measured",
        ),
        (8.0, 4.0, "a cutoff of 8 Hz, those of robot 'toy' are estimated with a cutoff of 4 Hz"),
    ],
)
def test_another_source_of_velocities_is_refused_where_the_rule_looks_at_them(
    trained, has, message
):
    with pytest.raises(ContractError, match=message):
        controller_for(trained_with(trained, MOVING), estimating(has))
    controller_for(trained_with(trained, CHANNELS), estimating(has))  # it does not look
    controller_for(trained_with(trained, MOVING), estimating(trained))


@pytest.mark.parametrize(
    ("field", "value"),
    [("lower", -2.0), ("upper", 2.0), ("torque", 9.0), ("max_target_rate", 9.0), ("velocity", 1.0)],
)
def test_a_robot_with_wider_limits_than_in_training_is_fine(field, value):
    controller_for(toy_rule(), another(change_joint(field, value)))


def test_the_robots_own_limits_hold_not_those_of_the_training():
    robot = another(change_joint("max_target_rate", 4.0))  # trained with 2
    controller = controller_for(toy_rule(), robot)
    controller.reset(np.random.default_rng(0))
    controller.runtime = Script([1.0, 0.0])
    command = controller.step(toy_reading(robot), 0.0)
    assert command.position.tolist() == [0.75, 0.0]  # 4 rad/s · 0.125 s above 0.25
