"""Every fault that can be made from outside, with the time to a safe command and the way back."""

import os
import re
import resource
import signal
import time
from contextlib import suppress

import numpy as np
import pytest
from rig import CONTROL, SIM, Recorder, exploding_rule, gentle_rule, is_damp, values
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64
from watch import Within, beyond

from hebb_controller.node.operator_client import NodeTimeoutError
from hebb_controller.node.processes import NodeProcess
from hebb_controller.rule_file import save_rule

pytestmark = pytest.mark.timeout(900)

SIMULATOR = "faulty_sim"
CONTROLLER = "raising_controller"

REPEATS = 10
TICK = 0.02
MARGIN = 0.05  # s, of a loaded machine, as in tests/ros/test_safe_exits.py
TIMEOUT = 0.1  # s: sensor_timeout, and command_timeout of the receiver
FROZEN = 0.5  # s: frozen_timeout
UNPOWERED = 1.0  # s that joints may be off target (node/tracking.py)
SINKS = 1.0  # s in which one without power is
GONE = 60.0  # s; the last trace of a killed node fades after some 20

rows = []


@pytest.fixture(scope="module", autouse=True)
def table(keep):
    """Write the table when all have run."""
    yield
    head = "| fault | ticks by | what the node did | safe after, median / max, s | RUN again after, s | n |\n"
    lines = "".join(
        f"| {r['fault']} | {r['by']} | {r['did']} | {r['safe']} | {r['back']} | {r['n']} |\n"
        for r in rows
    )
    keep("faults", {"rows": rows}, f"{head}|---|---|---|---|---|---|\n{lines}")


@pytest.fixture(scope="module")
def switch(tmp_path_factory):
    """Return the file that makes the network raise while it exists."""
    path = tmp_path_factory.mktemp("switch") / "raise"
    os.environ["RAISE_WHILE"] = str(path)
    return path


class Bench:
    """A robot that runs, and what happens to it."""

    def __init__(self, made, robot, repeats):
        self.made, self.robot, self.repeats = made, robot, repeats
        self.operator = made.operator
        self.within = Within(robot)
        self.truth, self.since = Recorder(), Recorder()
        self.unpowered = []  # (from, to), steady time
        self.operator.watch(JointState, "joint_command", self.within, 100)
        self.operator.watch(JointState, "truth", self.truth, 100)
        self.operator.watch(Float64, "fault_since", self.since, 10)

    def spoil(self, fault):
        """Have the driver fail; return since when, steady time."""
        index = len(self.since.items)
        self.made.commands.wait_for(10)  # a run that has just begun has seen no reading before
        self.made.set(SIM, "fault", fault)
        return self.since.wait(lambda _: True, since=index)[1].data

    def damped(self, since, statuses):
        """Return after how long the first damping command came here that no other one followed."""
        made = self.made
        made.wait_for_phase("DAMPED", since=statuses)
        made.commands.wait_for(10 if made.simulator.exit_code is None else 1)
        first = np.inf
        for when, message in reversed(list(made.commands.items)):
            if not is_damp(message):
                break
            first = when
        return max(first - since, 0.0)

    def back(self):
        """Reset, as soon as it is allowed; return after how long the network drives again."""
        made, start = self.made, time.monotonic()
        asked = -np.inf
        while made.status["phase"] != "RUN" or made.statuses.items[-1][0] < start:
            now = time.monotonic()
            assert now < start + 20.0, made.status
            if now > asked + 2.0:  # a machine that is loaded may damp it once more
                refused = self.operator.trigger(f"{CONTROL}/reset_estop")
                asked = now if not refused or "nothing to reset" in refused else -np.inf
            time.sleep(0.02)
        return made.statuses.items[-1][0] - start

    def outside(self):
        """Return how far beyond its limits a joint was, at most, rad: driven, and with the motors damping.

        Driven is who runs, was sent positions last, and has power. A body without power rests on its end
        stops, which give way a little.
        """
        robot, made = self.robot, self.made
        listened = [list(r.items) for r in (made.commands, made.statuses, self.truth)]
        sent, told, when = (np.array([when for when, _ in items]) for items in listened)
        commands, statuses, truth = ([m for _, m in items] for items in listened)
        damp = np.array([is_damp(m) for m in commands])
        runs = np.array([values(s)["phase"] == "RUN" for s in statuses])
        positions = np.array([m.position for m in truth])
        furthest = beyond(robot, positions).max(axis=1)
        last, phase = np.searchsorted(sent, when) - 1, np.searchsorted(told, when) - 1
        fresh = when - sent[last] <= TIMEOUT
        driven = (last >= 0) & fresh & ~damp[last] & runs[phase]
        for start, end in self.unpowered:
            driven &= (when < start) | (when > end)
        return {
            "driven": float(furthest[driven].max(initial=-np.pi)),
            "damping": float(furthest[~driven].max(initial=-np.pi)),
        }

    def followed(self):
        """Wait until the receiver says that it follows commands."""
        since = len(self.made.diagnostics.items)
        self.made.wait_for_sim(lambda s: s.message == "following commands", since=since)

    def note(self, fault, did, safe=(), back=()):
        """Add a row, after a look at the limits and at who is still the same process."""
        assert self.within.commands > 0
        assert not self.within.outside
        outside = self.outside()
        assert outside["driven"] <= 0.0, outside
        text = f"{np.median(safe):.3f} / {np.max(safe):.3f}" if len(safe) else "never unsafe"
        again = f"{np.median(back):.2f}" if len(back) else "never left"
        by = self.made.controller_parameters["tick_source"]
        rows.append(
            {
                "fault": fault,
                "by": by,
                "did": did,
                "safe": text,
                "back": again,
                "n": max(len(safe), len(back)) or self.repeats,
                "outside": outside,
                "commands": self.within.commands,
                "inwards": self.within.inwards,
                "safe_s": [round(x, 4) for x in safe],
                "back_s": [round(x, 3) for x in back],
            }
        )


@pytest.fixture
def bench(rigged, switch):
    """Return the bench, sound and running, whatever the test before left."""
    switch.unlink(missing_ok=True)
    rigged.made.simulator.send_signal(signal.SIGCONT)
    rigged.made.controller.send_signal(signal.SIGCONT)
    rigged.made.set(SIM, "fault", "none")
    if rigged.made.status["phase"] == "DAMPED":
        rigged.back()
    return rigged


@pytest.fixture(scope="module", params=["timer", "sensor"])
def rigged(request, start, robot, scale, switch):
    rule = switch.with_name("gentle.rule.safetensors")  # a walk may stumble by itself
    save_rule(gentle_rule(robot), rule)
    kept = str(switch.with_name("gentle.snapshot.safetensors"))
    source = request.param
    controller = {"tick_source": source, "snapshot_file": kept, "rule_file": str(rule)}
    made = start(controller=controller).up().running()
    return Bench(made, robot, max(1, round(scale * REPEATS)))


DAMPING = {  # fault -> the longest time to a safe command, and what the reason says
    "frozen": (FROZEN, "all joints have read the same"),
    "repeated": (FROZEN, "the stamps have stood still"),
    "imu_frozen": (FROZEN, "the imu has read the same"),
    "nan": (0.0, "not finite"),
    "inf": (0.0, "not finite"),
    "joint_missing": (TIMEOUT, "ms old"),
    "clock_back": (0.0, "jumped back"),
}


@pytest.mark.parametrize("fault", DAMPING)
def test_sensors_that_fail_damp_in_time_and_the_reset_leads_back(bench, fault):
    limit, reason = DAMPING[fault]
    safe, back = [], []
    for _ in range(bench.repeats):
        statuses = len(bench.made.statuses.items)
        safe.append(bench.damped(bench.spoil(fault), statuses))
        assert reason in bench.made.status["reason"]
        bench.spoil("none")
        back.append(bench.back())
    bench.note(fault, f"DAMPED: … {reason} …", safe, back)
    assert max(safe) <= limit + 2 * TICK + MARGIN, (safe, bench.made.status)


HARMLESS = ("permuted", "double_rate")


@pytest.mark.parametrize("fault", HARMLESS)
def test_what_is_no_fault_changes_nothing(bench, fault):
    statuses, start = len(bench.made.statuses.items), len(bench.made.commands.items)
    for _ in range(bench.repeats):
        bench.spoil(fault)
        bench.made.commands.wait_for(100)
        bench.spoil("none")
    found = [values(s) for _, s in bench.made.statuses.items[statuses:]]
    assert {(s["phase"], s["plasticity"]) for s in found} <= {("RUN", "plastic")}
    assert not any(is_damp(m) for _, m in bench.made.commands.items[start:])
    bench.note(fault, "went on")


@pytest.mark.parametrize("fault", ["half_rate", "clock_ahead"])
def test_a_foreign_rate_freezes_the_weights_and_its_end_lets_them_change_again(bench, fault):
    made, safe, back = bench.made, [], []
    for _ in range(bench.repeats):
        statuses, start = len(made.statuses.items), len(made.commands.items)
        since = bench.spoil(fault)
        when, _ = made.statuses.wait(
            lambda s: "the rule needs 50 Hz" in values(s)["plasticity"], since=statuses
        )
        safe.append(when - since)
        if fault == "half_rate":
            bench.spoil("none")
        healed = time.monotonic()
        index = len(made.statuses.items) - 1
        when, _ = made.statuses.wait(
            lambda s: values(s)["plasticity"] == "plastic", 40.0, since=index
        )
        back.append(when - healed)
        assert not any(is_damp(m) for _, m in made.commands.items[start:])
        if fault == "clock_ahead":  # back to the true time is a jump back
            statuses = len(made.statuses.items)
            bench.damped(bench.spoil("none"), statuses)
            bench.back()
    bench.note(fault, "went on, weights frozen meanwhile", safe, back)


def test_a_driver_that_stands_still_damps(bench):
    made, safe, back = bench.made, [], []
    for _ in range(bench.repeats):
        statuses = len(made.statuses.items)
        made.simulator.send_signal(signal.SIGSTOP)
        since = time.monotonic()
        safe.append(bench.damped(since, statuses))
        made.simulator.send_signal(signal.SIGCONT)
        back.append(bench.back())
    bench.note("driver stopped (SIGSTOP)", "DAMPED: … ms old", safe, back)
    assert max(safe) <= TIMEOUT + 2 * TICK + MARGIN, (safe, made.status)


def test_a_driver_that_is_killed_damps_and_the_next_one_is_taken(bench):
    made, safe, back = bench.made, [], []
    controller = made.controller.pid
    for _ in range(bench.repeats):
        statuses = len(made.statuses.items)
        made.simulator.send_signal(signal.SIGKILL)
        since = time.monotonic()
        safe.append(bench.damped(since, statuses))
        made.start_simulator(paused=False)
        bench.followed()  # until it has found the controller, nobody takes the commands
        back.append(bench.back())
    assert made.controller.pid == controller
    bench.note("driver killed (SIGKILL)", "DAMPED: … ms old", safe, back)
    assert max(safe) <= TIMEOUT + 2 * TICK + MARGIN, (safe, made.status)


def test_a_controller_that_stands_still_is_damped_by_the_receiver_and_then_by_itself(bench):
    made, safe, back = bench.made, [], []
    for _ in range(bench.repeats):
        bench.followed()
        diagnostics, statuses = len(made.diagnostics.items), len(made.statuses.items)
        made.controller.send_signal(signal.SIGSTOP)
        since = time.monotonic()
        when, _ = made.wait_for_sim(lambda s: s.message.startswith("damped"), since=diagnostics)
        safe.append(when - since)
        made.controller.send_signal(signal.SIGCONT)
        made.wait_for_phase("DAMPED", since=statuses)
        back.append(bench.back())
    bench.note("controller stopped (SIGSTOP)", "receiver damped, then DAMPED", safe, back)
    assert max(safe) <= TIMEOUT + 2 * TICK + MARGIN, (safe, made.status)


def test_power_that_is_cut_damps_and_its_return_moves_nothing(bench, robot):
    """No command reaches the motors; when they obey again, the robot waits for the reset."""
    made, safe, back = bench.made, [], []
    for _ in range(bench.repeats):
        statuses, cut = len(made.statuses.items), time.monotonic()
        made.set(SIM, "damage", ",".join(f"{leg}:limp" for leg in robot.legs))
        safe.append(bench.damped(cut, statuses))
        assert "have not followed their targets" in made.status["reason"]
        bench.unpowered.append((cut, time.monotonic()))
        made.set(SIM, "damage", "none")
        start = len(made.commands.items)
        made.commands.wait_for(50)
        assert all(is_damp(m) for _, m in made.commands.items[start:])
        back.append(bench.back())
    bench.note("power of all motors cut", "DAMPED: … have not followed …", safe, back)
    assert max(safe) <= SINKS + UNPOWERED + 2 * TICK + MARGIN, (safe, made.status)


def test_an_exception_in_the_loop_damps_at_once(bench, switch):
    made, safe, back = bench.made, [], []
    for _ in range(bench.repeats):
        statuses = len(made.statuses.items)
        since = time.monotonic()
        switch.touch()
        safe.append(bench.damped(since, statuses))
        assert "the control thread failed: ZeroDivisionError: planted" in made.status["reason"]
        switch.unlink()
        back.append(bench.back())
    bench.note("exception in the loop", "DAMPED: the control thread failed", safe, back)
    assert max(safe) <= 2 * TICK + MARGIN, (safe, made.status)


def test_a_storm_of_parameters_from_three_sides_does_not_come_between_commands(bench, tmp_path):
    made, gaps, asked = bench.made, [], 0
    for number in range(bench.repeats):
        statuses, diagnostics = len(made.statuses.items), len(made.diagnostics.items)
        start = len(made.commands.items)
        with NodeProcess("storm", {}, log=tmp_path / f"{number}.log") as storm:
            made.commands.wait_for(250)
        asked += int(re.search(r"(\d+) answers", storm.output())[1])
        gaps.append(float(np.diff([when for when, _ in made.commands.items[start:]]).max()))
        assert {values(s)["reason"] for _, s in made.statuses.items[statuses:]} <= {""}
        heard = str([m for _, m in made.diagnostics.items[diagnostics:]])
        assert "damped: no command in time" not in heard
    made.set(CONTROL, "swap_weights", "fresh")
    assert asked >= 8 * bench.repeats  # everything that a storm asks for
    bench.note(
        f"storm of {asked} parameter settings", f"went on, commands ≤ {max(gaps):.3f} s apart"
    )


@pytest.fixture
def exploding(robot, tmp_path):
    path = tmp_path / "exploding.rule.safetensors"
    save_rule(exploding_rule(robot), path)
    return str(path)


def test_weights_that_explode_on_probation_bring_the_old_rule_back(bench, exploding):
    made, safe = bench.made, []
    before = made.status["rule_file"]
    for _ in range(bench.repeats):
        statuses = len(made.statuses.items)
        made.set(CONTROL, "rule_file", exploding)
        begun, status = made.statuses.wait(
            lambda s: values(s)["rule_file"] == exploding, since=statuses
        )
        number = str(int(values(status)["swap"]) + 1)
        ended, status = made.statuses.wait(
            lambda s: values(s)["swap"] == number,  # noqa: B023
            since=statuses,
        )
        assert values(status)["swap_state"] == "rolled back"
        assert values(status)["rule_file"] == before
        assert values(status)["phase"] == "RUN"
        safe.append(ended - begun)
    bench.note("weights explode on probation", "rolled back", safe)


def test_a_full_disk_costs_the_snapshot_and_nothing_else(bench):
    """No file of the process may grow: writing fails as on a full disk, its log's too."""
    made = bench.made
    statuses, start = len(made.statuses.items), len(made.commands.items)
    assert made.operator.trigger(f"{CONTROL}/snapshot") == ""
    pid = made.controller.pid
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    for _ in range(bench.repeats):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (100, before[1]))
        assert "cannot be written" in made.operator.trigger(f"{CONTROL}/snapshot")
        assert made.operator.trigger(f"{CONTROL}/restore") == ""  # the one before is whole
        made.commands.wait_for(25)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
        assert made.operator.trigger(f"{CONTROL}/snapshot") == ""
    assert {values(s)["phase"] for _, s in made.statuses.items[statuses:]} <= {"RUN"}
    assert not any(is_damp(m) for _, m in made.commands.items[start:])
    bench.note("disk full at ~/snapshot", "went on, ~/snapshot refused")


def test_a_controller_that_is_killed_is_damped_by_the_receiver_and_the_next_one_drives(bench):
    made, safe, back = bench.made, [], []
    simulator = made.simulator.pid
    for _ in range(min(5, bench.repeats)):
        bench.followed()
        diagnostics = len(made.diagnostics.items)
        made.controller.send_signal(signal.SIGKILL)
        since = time.monotonic()
        when, _ = made.wait_for_sim(lambda s: s.message.startswith("damped"), since=diagnostics)
        safe.append(when - since)
        made.start_controller()
        again = time.monotonic()
        state = ""
        while state != "unconfigured":  # a request may still go to the one that is gone
            assert time.monotonic() < again + GONE, made.logs()
            with suppress(NodeTimeoutError):
                state = made.operator.state(CONTROL, timeout=0.5)
        assert made.operator.change_state(CONTROL, "configure", timeout=20.0), made.logs()
        index = len(made.statuses.items)
        while not made.operator.change_state(CONTROL, "activate", timeout=20.0):
            assert time.monotonic() < again + GONE, made.logs()
            time.sleep(0.5)
        when, status = made.statuses.wait(
            lambda s: values(s)["phase"] in {"RUN", "DAMPED"}, GONE, since=index
        )
        assert values(status)["phase"] == "RUN", values(status)
        back.append(when - again)
    assert made.simulator.pid == simulator
    bench.note("controller killed (SIGKILL)", "receiver damped", safe, back)
    assert max(safe) <= TIMEOUT + 2 * TICK + MARGIN, (safe, made.status)
