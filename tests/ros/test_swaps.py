"""Rules swapped while the robot walks: a bad file changes nothing, a good one takes over."""

import os
import pickle
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
from rig import CONTROL, gentle_rule, values

from hebb_controller.node.rule_loading import VALIDATION_NICENESS, validate_rule_in_child
from hebb_controller.rule_file import save_rule
from hebb_controller.signature import Trust


@pytest.fixture(scope="module")
def walking(rig, rules):
    return rig(controller={"rule_dir": str(rules)}, patient=True).up().running()


def truncated(directory, robot):
    data = (directory / "two.rule.safetensors").read_bytes()
    path = directory / "truncated.rule.safetensors"
    path.write_bytes(data[: len(data) // 2])
    return path


def not_finite(directory, robot):
    path = directory / "nan.rule.safetensors"
    data = bytearray((directory / "two.rule.safetensors").read_bytes())
    data[-4:] = np.float32("nan").tobytes()
    path.write_bytes(data)
    return path


def other_robot(directory, robot):
    names = tuple(f"other_{name}" for name in robot.joint_names)
    path = directory / "other.rule.safetensors"
    save_rule(gentle_rule(replace(robot, name="other", joint_names=names)), path)
    return path


def missing(directory, robot):
    return directory / "missing.rule.safetensors"


def pickled(directory, robot):
    path = directory / "pickle.rule.safetensors"
    path.write_bytes(pickle.dumps({"layer0.A": [1.0] * 100}, protocol=4))
    return path


def outside(directory, robot):
    path = directory.parent / "outside.rule.safetensors"
    shutil.copy(directory / "two.rule.safetensors", path)
    return path


def link_to_outside(directory, robot):
    path = directory / "link.rule.safetensors"
    path.symlink_to(outside(directory, robot))
    return path


def link_to_itself(directory, robot):
    path = directory / "circle.rule.safetensors"
    path.symlink_to(path)
    return path


def upwards(directory, robot):
    return directory / ".." / outside(directory, robot).name


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (truncated, "truncated"),
        (not_finite, "finite"),
        (other_robot, "trained for robot 'other'"),
        (missing, "no such file"),
        (pickled, "pickle"),
        (outside, "outside rule_dir"),
        (link_to_outside, "outside rule_dir"),
        (link_to_itself, "circle.rule.safetensors"),
        (upwards, "outside rule_dir"),
    ],
)
def test_a_bad_file_is_refused_with_the_reason_and_the_old_rule_drives_on(
    walking, rules, robot, make, reason
):
    before = walking.status
    refused = walking.operator.set_parameter(CONTROL, "rule_file", str(make(rules, robot)))
    assert reason in refused
    assert "\n" not in refused
    walking.diagnostics.wait(
        lambda m: values(m.status[0]).get("phase") == "RUN", since=len(walking.diagnostics.items)
    )
    assert walking.status["sha256"] == before["sha256"]
    assert walking.status["swap"] == before["swap"]
    assert walking.status["phase"] == "RUN"


def test_a_good_file_takes_over_and_is_numbered(walking, rules, sha256):
    """The name is taken relative to rule_dir."""
    swap = int(walking.status["swap"])
    for number, name in ((swap + 1, "two"), (swap + 2, "one")):
        since = len(walking.statuses.items)
        walking.set(CONTROL, "rule_file", f"{name}.rule.safetensors")
        _, status = walking.statuses.wait(lambda s: values(s)["swap"] == str(number), since=since)  # noqa: B023
        assert values(status)["sha256"] == sha256(rules / f"{name}.rule.safetensors")
        assert values(status)["phase"] == "RUN"


@pytest.mark.alone
def test_commands_go_on_while_a_file_is_validated(walking, rules):
    """The child process takes a second; without commands the receiver would damp, and say so at once."""
    commands, since = len(walking.commands.items), len(walking.diagnostics.items)
    walking.set(CONTROL, "rule_file", str(rules / "two.rule.safetensors"))
    walking.wait_for_sim(lambda s: True, since=len(walking.diagnostics.items))
    assert len(walking.commands.items) - commands > 10
    arrays = [array for _, array in walking.diagnostics.items[since:]]
    told = {s.message for array in arrays for s in array.status if "receiver" in s.name}
    assert told == {"following commands"}


def test_a_damped_controller_refuses_a_swap(walking, rules):
    assert walking.operator.trigger(f"{CONTROL}/estop") == ""
    refused = walking.operator.set_parameter(
        CONTROL, "rule_file", str(rules / "one.rule.safetensors")
    )
    assert "~/reset_estop" in refused


def test_the_validation_gives_way_to_the_robot(tmp_path, monkeypatch):
    """An interpreter that tells how nice it is, and of which session, where the sha256 would stand."""
    script = tmp_path / "python"
    script.write_text(
        "#!/bin/sh\nsleep 0.3\nread -r _ _ _ _ _ session _ < /proc/$$/stat\n"
        'printf \'{"sha256": "%s %s"}\' "$(nice)" "$((session - $$))"\n'
    )
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    told = validate_rule_in_child(tmp_path / "any", "a1", Trust("off", (), warn=print))
    assert told == f"{min(os.nice(0) + VALIDATION_NICENESS, 19)} 0"
