"""The launch files, where launch_ros is installed; elsewhere the nodes are started as it would."""

import importlib.util
from pathlib import Path

import pytest

pytest.importorskip("launch_ros")

LAUNCH = Path(__file__).resolve().parents[2] / "launch"

# What has no default: nobody can know which robot is in front of him.
HAS_TO_BE_GIVEN = {"sim": set(), "controller": set(), "robot": {"robot", "rule_file"}}


def load(name):
    spec = importlib.util.spec_from_file_location(name, LAUNCH / f"{name}.launch.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def arguments(name):
    """Return the launch file's own arguments by name."""
    described = load(name).generate_launch_description().get_launch_arguments()
    return {argument.name: argument for argument in described}


@pytest.mark.parametrize("name", HAS_TO_BE_GIVEN)
def test_every_argument_is_described_and_has_a_default_or_has_to_be_given(name):
    found = arguments(name)
    assert {"robot", "rule_file", "seed"} <= found.keys()
    assert all(argument.description for argument in found.values())
    required = {argument.name for argument in found.values() if argument.default_value is None}
    assert required == HAS_TO_BE_GIVEN[name]


def test_the_robot_launch_hands_over_only_what_the_controller_launch_takes():
    """An argument that an included file does not know is passed over in silence."""
    assert load("robot").ARGUMENTS.keys() <= arguments("controller").keys()


def test_a_robot_is_not_commanded_unless_it_is_asked_for():
    (default,) = arguments("robot")["dry_run"].default_value
    assert default.text == "true"


def test_every_topic_of_a_robot_is_remapped_before_the_controller_is_started():
    from launch.actions import GroupAction, IncludeLaunchDescription
    from launch_ros.actions import SetRemap

    from launch import LaunchContext

    robot = load("robot")
    context = LaunchContext()
    context.launch_configurations.update({name: f"my/{name}" for name in robot.TOPICS})
    description = robot.generate_launch_description()
    (group,) = (entity for entity in description.entities if isinstance(entity, GroupAction))
    inside = group.get_sub_entities()
    kinds = [type(entity) for entity in inside]
    start = kinds.index(IncludeLaunchDescription)
    for entity in inside[:start]:
        if isinstance(entity, SetRemap):
            entity.execute(context)
    assert kinds[:start].count(SetRemap) == len(robot.TOPICS)
    assert set(context.launch_configurations["ros_remaps"]) == {
        (topic, f"my/{name}") for name, (topic, _) in robot.TOPICS.items()
    }


def test_the_controller_is_activated_by_the_launch_once_and_only_if_it_is_configured():
    from types import SimpleNamespace

    from launch.actions import EmitEvent, OpaqueFunction, RegisterEventHandler

    from launch import LaunchContext

    entities = load("controller").generate_launch_description().entities
    handlers = [e.event_handler for e in entities if isinstance(e, RegisterEventHandler)]
    (handler, action), *others = (
        (h, e) for h in handlers for e in h.entities if isinstance(e, OpaqueFunction)
    )
    assert not others
    assert handler.handle_once
    for goal, count in (("inactive", 1), ("unconfigured", 0), ("errorprocessing", 0)):
        context = LaunchContext()
        context.extend_locals({"event": SimpleNamespace(goal_state=goal)})
        asked = action.execute(context) or []
        assert [type(one) for one in asked] == [EmitEvent] * count
