"""What an operator asks of a walking robot, over real DDS: swaps, the way back, freezing, remembering."""

import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from rig import CONTROL, LATE, PATIENCE, SIM, Recorder, exploding_rule, gentle_rule, is_damp, values
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, Empty

from hebb_controller.node.snapshot_file import load_snapshot
from hebb_controller.rule_file import load_rule, save_rule

SUFFIX = ".rule.safetensors"


@pytest.fixture(scope="module")
def more_rules(robot, rules, tmp_path_factory):
    """Return a directory with good rules and bad ones."""
    directory = tmp_path_factory.mktemp("more")
    shutil.copy(rules / f"one{SUFFIX}", directory)
    shutil.copy(rules / f"two{SUFFIX}", directory)
    save_rule(exploding_rule(robot), directory / f"exploding{SUFFIX}")
    other = robot.__class__(**{**vars(robot), "name": "other"})
    save_rule(gentle_rule(other), directory / f"other{SUFFIX}")
    data = (rules / f"one{SUFFIX}").read_bytes()
    (directory / f"truncated{SUFFIX}").write_bytes(data[:-100])
    (directory / f"flipped{SUFFIX}").write_bytes(data[:100] + b"\xff" + data[101:])
    return directory


BAD = ("truncated", "missing", "flipped", "../one", "/etc/passwd")


def path(message):
    return bytes(message.position) + bytes(message.velocity)


def trajectory(made, seconds):
    made.readings.wait_for_all(round(seconds / 0.02))  # the last ones may still be on their way
    return {(m.header.stamp.sec, m.header.stamp.nanosec): path(m) for _, m in made.readings.items}


def test_a_run_in_which_every_swap_is_refused_is_the_undisturbed_run_bit_for_bit(rig, more_rules):
    seconds = 24.0
    controller = {"rule_dir": str(more_rules), "rule_file": str(more_rules / f"one{SUFFIX}")}
    made = rig(sim={"duration": seconds}, controller=controller, lock_step=True).up()
    assert made.simulator.wait(60.0) == 0, made.logs()
    undisturbed = trajectory(made, seconds)
    assert made.status["phase"] == "RUN", made.status
    # in real time, so that there is time for many, also on a busy machine
    sim = {"duration": seconds, "lock_step": True, "real_time_factor": 1.0}
    made = rig(sim=sim, controller=controller, lock_step=True).up()
    reasons = []
    for name in BAD * 20:
        if made.simulator.exit_code is not None:
            break
        text = f"{name}{SUFFIX}"
        reasons.append(made.operator.set_parameter(CONTROL, "rule_file", text))
    assert made.simulator.wait(60.0) == 0, made.logs()
    assert len(reasons) >= 5
    assert all(reasons), reasons
    assert made.status["swap"] == "0"
    assert trajectory(made, seconds) == undisturbed


@pytest.fixture(scope="module")
def walking(rig, more_rules, tmp_path_factory):
    """Return a rig in lock-step that goes on for ever, at four times real time."""
    controller = {
        "rule_dir": str(more_rules),
        "rule_file": f"{more_rules}/one{SUFFIX}",
        "swap_blend": 0.2,
        "swap_probation": 1.0,
        "snapshot_file": str(tmp_path_factory.mktemp("kept") / "one.snapshot.safetensors"),
    }
    sim = {"lock_step": True, "real_time_factor": 4.0}
    made = rig(sim=sim, controller=controller, lock_step=True).up().running()
    return made


def wait_for(made, since=0, **wanted):
    return made.statuses.wait(
        lambda s: all(values(s).get(key) == value for key, value in wanted.items()), since=since
    )


def test_of_fifteen_swaps_the_good_ones_are_numbered_and_no_command_leaves_the_limits(
    walking, robot, more_rules, sha256
):
    start = len(walking.commands.items)
    good = 0
    for attempt in range(15):
        name = BAD[attempt % len(BAD)] if attempt % 3 == 2 else ("two", "one")[attempt % 2]
        if attempt == 6:
            walking.set(CONTROL, "swap_weights", "carry")
        refused = walking.operator.set_parameter(CONTROL, "rule_file", f"{name}{SUFFIX}")
        assert bool(refused) is (attempt % 3 == 2), refused
        if not refused:
            good += 1
            digest = sha256(more_rules / f"{name}{SUFFIX}")
            wait_for(walking, swap=str(good), sha256=digest, phase="RUN")
    assert good == 10
    wait_for(walking, swap="10", swap_state="kept")
    walking.set(CONTROL, "swap_weights", "fresh")
    targets = np.array([m.position for _, m in walking.commands.items[start:]])
    assert targets.shape[1] == robot.n_joints  # nowhere DAMP
    assert np.isfinite(targets).all()
    assert (targets >= robot.lower - 1e-9).all()
    assert (targets <= robot.upper + 1e-9).all()


def test_weights_that_explode_bring_the_old_rule_back_and_the_parameter_with_it(walking):
    before = walking.status
    named = walking.operator.get_parameter(CONTROL, "rule_file")
    walking.set(CONTROL, "rule_file", f"exploding{SUFFIX}")
    _, status = wait_for(walking, since=len(walking.statuses.items) - 1, swap_state="rolled back")
    found = values(status)
    assert "norm" in found["swap_reason"]
    assert found["phase"] == "RUN"
    assert found["sha256"] == before["sha256"]
    assert int(found["swap"]) == int(before["swap"]) + 2
    end = time.monotonic() + PATIENCE
    while walking.operator.get_parameter(CONTROL, "rule_file") != named:
        assert time.monotonic() < end
    _, array = walking.diagnostics.wait(
        lambda m: any(s.name.endswith(": Rule") and "rolled back" in s.message for s in m.status)
    )
    names = [status.name.partition(": ")[2] for status in array.status]
    assert names == ["Control Loop", "Inputs", "Plasticity", "Rule"]


def test_the_operator_goes_back_by_hand(walking):
    before = walking.status
    other = "two" if "one." in before["rule_file"] else "one"
    walking.set(CONTROL, "rule_file", f"{other}{SUFFIX}")
    wait_for(walking, since=len(walking.statuses.items) - 1, swap_state="kept")
    since = len(walking.statuses.items)
    assert walking.operator.trigger(f"{CONTROL}/rollback") == ""
    _, status = wait_for(walking, since=since, swap_state="rolled back", sha256=before["sha256"])
    assert values(status)["swap_reason"] == "by ~/rollback"
    assert "nothing to roll back to" in walking.operator.trigger(f"{CONTROL}/rollback")


def test_what_was_learned_outlives_the_process_and_another_runtime_goes_on_from_it(
    walking, rig, more_rules, robot
):
    operator = walking.operator
    status = walking.status
    rule = load_rule(status["rule_file"])
    assert operator.trigger(f"{CONTROL}/snapshot") == ""
    other = ({"one", "two"} - {walking.status["rule_file"].rpartition("/")[2][:3]}).pop()
    walking.set(CONTROL, "rule_file", f"{other}{SUFFIX}")
    wait_for(walking, since=len(walking.statuses.items) - 1, swap_state="kept")
    assert "another rule" in operator.trigger(f"{CONTROL}/restore")

    parameters = {
        **walking.controller_parameters,
        "rule_file": status["rule_file"],
        "runtime": "onnx",
        "swap_probation": 0.0,
    }
    made = rig(controller=parameters, lock_step=True)
    first = parameters["snapshot_file"]
    assert made.operator.change_state(CONTROL, "configure", timeout=PATIENCE), made.logs()
    assert made.operator.trigger(f"{CONTROL}/restore") == ""
    assert made.operator.switch(f"{CONTROL}/freeze", on=True) == ""
    assert made.operator.change_state(CONTROL, "activate"), made.logs()
    made.set(SIM, "paused", False)
    made.running()
    assert made.status["plasticity"] == "frozen: by ~/freeze"
    second = first.replace("one.", "two.")
    made.set(CONTROL, "snapshot_file", second)
    made.commands.wait_for(50)
    assert made.operator.trigger(f"{CONTROL}/snapshot") == ""
    kept, again = (load_snapshot(Path(p), rule) for p in (first, second))
    assert kept["weights"].tobytes() == again["weights"].tobytes()
    assert made.operator.switch(f"{CONTROL}/freeze", on=False) == ""

    # Without probation nothing is taken back: the supervisor looks after the weights.
    made.set(CONTROL, "rule_file", f"exploding{SUFFIX}")
    _, message = made.statuses.wait(
        lambda s: values(s).get("plasticity", "").startswith("frozen, with the last good weights")
    )
    assert values(message)["phase"] == "RUN"
    assert "norm" in values(message)["plasticity"]
    assert made.operator.trigger(f"{CONTROL}/rollback") == ""
    wait_for(made, since=len(made.statuses.items) - 1, plasticity="plastic", phase="RUN")
    assert made.operator.trigger(f"{CONTROL}/reset_weights") == ""


@pytest.mark.alone
def test_commands_go_out_faster_than_ticks_and_a_foreign_rate_freezes_the_weights(rig):
    """Simulated at twice real time, a tick of the node is two of the rule's."""
    made = rig(sim={"real_time_factor": 2.0}, controller={"command_rate": 200.0}, patient=True)
    made.up().running()
    made.statuses.wait(lambda s: "the rule needs 50 Hz" in values(s).get("plasticity", ""))
    start = len(made.commands.items)
    made.commands.wait_for(200)
    targets = np.array([m.position for _, m in made.commands.items[start : start + 200]])
    changed = np.flatnonzero((np.diff(targets, axis=0) != 0).any(axis=1))
    assert 25 <= len(changed) <= 67  # fifty, were the machine idle
    assert np.median(np.diff(changed)) == 4


def test_a_dry_run_commands_nobody_and_a_published_estop_or_a_silent_dead_man_damps(rig):
    made = rig(controller={"dry_run": True, "heartbeat_timeout": LATE}, patient=True)
    dry = Recorder()
    made.operator.watch(JointState, f"{CONTROL}/dry_run", dry)
    beat = made.operator.node.create_publisher(Empty, "heartbeat", 1)
    estop = made.operator.node.create_publisher(Bool, "estop", 1)
    stopping = threading.Event()

    def keep_beating():
        while not stopping.wait(0.1):
            beat.publish(Empty())

    beating = threading.Thread(target=keep_beating)
    beating.start()
    try:
        made.up(active=False)
        made.diagnostics.wait(
            lambda m: any(s.message == "readings arrive" for s in m.status if "Inputs" in s.name)
        )  # the heartbeat, too, or starting would damp
        assert made.operator.change_state(CONTROL, "activate"), made.logs()
        made.running()
        since = len(made.statuses.items)
        estop.publish(Bool(data=True))
        made.wait_for_phase("DAMPED", since=since)
        assert "estop was published" in made.status["reason"]
        since = len(made.statuses.items)
        # Published once, it holds for 2 s.
        while said := made.operator.trigger(f"{CONTROL}/reset_estop"):
            assert "estop is being published" in said
        made.wait_for_phase("RUN", since=since)
    finally:
        stopping.set()
        beating.join()
    since = len(made.statuses.items)
    made.wait_for_phase("DAMPED", since=since)
    assert "no heartbeat for" in made.status["reason"]
    assert any(len(message.position) for _, message in dry.items)
    dry.wait(is_damp, since=len(dry.items) - 1)
    assert not made.commands.items
