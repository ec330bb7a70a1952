"""Half an hour of whatever an operator, a leg or a sensor may do, in lock-step as fast as it goes.

All of it is recorded, and computed again from the file afterwards.
"""

import json
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pytest
from rig import CONTROL, PATIENCE, SIM, exploding_rule, values
from sensor_msgs.msg import JointState
from watch import Watch, Within, slope

from hebb_controller.node.processes import RECORDER, NodeProcess
from hebb_controller.robot import load_robot
from hebb_controller.rule_file import save_rule

pytestmark = pytest.mark.timeout(5400)

SUFFIX = ".rule.safetensors"
MINUTES = 30.0
SEED = 0
RULES = ("one", "two", "exploding")
REPLAYED = ("same", "ticks", "checkpoints", "starts", "lost")
RUNS = 48  # of half an hour are a day
PERIOD = 0.02  # s, of the rule
DAMAGES = (
    *("none", "none", "FR:weak:0.5", "motors:strength:0.8", "RL_lower_joint:constant"),
    *("sensors:noise:0.02", "FL:bias:0.1", "sensors:latency:1", "trunk:payload:2"),
    *("ground:friction:0.3", "trunk:push:40", "RR:limp", "FR:dropout:0.5"),
)


class Soak:
    """A rig and what may be done to it; each method is one event.

    Args:
        made: the rig, running.
        files: directory with the rules ``one``, ``two``, ``exploding`` and ``spoiled``.
    """

    def __init__(self, made, files):
        self.made, self.operator = made, made.operator
        self.files = files
        self.rng = np.random.default_rng(SEED)
        self.falls = 0
        self.outcomes = Counter()

    def trigger(self, name):
        reason = self.operator.trigger(f"{CONTROL}/{name}", timeout=20.0)
        self.outcomes[f"{name} {'refused' if reason else 'done'}"] += 1

    def set(self, name, value):
        reason = self.operator.set_parameter(CONTROL, name, value, timeout=30.0)
        self.outcomes[f"{name} {'refused' if reason else 'set'}"] += 1

    def swap(self):
        self.set("swap_weights", ("fresh", "carry")[self.rng.integers(2)])
        self.set("rule_file", ("one", "two")[self.rng.integers(2)] + SUFFIX)

    def bad_swap(self):
        self.set("rule_file", ("spoiled", "exploding", "missing")[self.rng.integers(3)] + SUFFIX)

    def damage(self):
        self.made.set(SIM, "damage", DAMAGES[self.rng.integers(len(DAMAGES))])
        self.outcomes["damage set"] += 1

    def freeze(self):
        reason = self.operator.switch(
            f"{CONTROL}/freeze", on=bool(self.rng.integers(2)), timeout=20.0
        )
        self.outcomes[f"freeze {'refused' if reason else 'done'}"] += 1

    def gain(self):
        self.set("plasticity_gain", (0.0, 0.5, 1.0, 1.0)[self.rng.integers(4)])

    def estop(self):
        self.trigger("estop")

    def reset_weights(self):
        self.trigger("reset_weights")

    def snapshot(self):
        self.trigger("snapshot")

    def restore(self):
        self.trigger("restore")

    def rollback(self):
        self.trigger("rollback")

    EVENTS = (
        *(swap, bad_swap, damage, damage, freeze, gain, estop),
        *(reset_weights, snapshot, restore, rollback),
    )

    def event(self):
        self.EVENTS[self.rng.integers(len(self.EVENTS))](self)

    def see_that_it_runs(self):
        """Reset what is damped; a robot that lies on its back is set up anew, and only the robot."""
        if self.made.status["phase"] != "DAMPED":
            return
        self.made.set(SIM, "damage", "none")
        if self.refusal_to_reset():
            self.falls += 1
            self.made.simulator.end()
            self.made.start_simulator(paused=False)
            end = time.monotonic() + 60.0
            while reason := self.refusal_to_reset():
                assert time.monotonic() < end, reason
                time.sleep(0.2)
        self.outcomes["DAMPED, reset"] += 1

    def refusal_to_reset(self):
        """Return why the robot may not be driven; that it is already is news that came late."""
        reason = self.operator.trigger(f"{CONTROL}/reset_estop", timeout=20.0)
        return "" if "nothing to reset" in reason else reason


@pytest.fixture
def files(tmp_path, walk):
    data = walk.read_bytes()
    for name in ("one", "two"):
        (tmp_path / f"{name}{SUFFIX}").write_bytes(data)
    (tmp_path / f"spoiled{SUFFIX}").write_bytes(data[:-100])
    save_rule(exploding_rule(load_robot("a1")), tmp_path / f"exploding{SUFFIX}")
    return tmp_path


def replayed(recording, rules):
    """Return the exit code of `hebb replay` and what it said."""
    command = [sys.executable, "-m", "hebb_controller.cli", "replay", *rules, recording, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_half_an_hour_of_everything_leaves_nothing_behind(start, files, scale, keep, tmp_path):
    """Were it to go on for 48 times as long: memory less than doubled, deadlines still met.

    What counts is the lower end of each slope's interval: what is certain to grow, and, of times, not
    because the machine became slower. And every tick whose weights are known can be computed again from
    the recording.
    """
    seconds = 60.0 * MINUTES * scale
    horizon = RUNS * seconds
    controller = {
        "rule_dir": str(files),
        "rule_file": str(files / f"one{SUFFIX}"),
        "snapshot_file": str(files / "kept.snapshot.safetensors"),
        "swap_probation": 1.0,
    }
    made = start(controller=controller, lock_step=True, readings=False)
    within = Within(load_robot("a1"))
    made.operator.watch(JointState, "joint_command", within, 1000)
    assert made.operator.change_state(CONTROL, "configure", timeout=PATIENCE), made.logs()
    recording = tmp_path / "soak.mcap"
    log = tmp_path / "recorder.log"
    with NodeProcess(RECORDER, {"record": str(recording)}, log=log) as recorder:
        while not made.operator.node.count_subscribers(f"{CONTROL}/weights"):
            assert recorder.exit_code is None, recorder.output()
            time.sleep(0.05)
        assert made.operator.change_state(CONTROL, "activate"), made.logs()
        made.set(SIM, "paused", False)
        made.running()
        soak, pid = Soak(made, files), made.controller.pid
        end = time.monotonic() + seconds
        events = 0
        with Watch(pid) as watch:
            while time.monotonic() < end:
                soak.event()
                events += 1
                time.sleep(0.5 * soak.rng.exponential())
                soak.see_that_it_runs()
                assert made.controller.exit_code is None, made.controller.output()[-2000:]
    assert made.controller.pid == pid
    made.simulator.end()  # what it would still do while all is computed again is in no recording
    times, ticks, latency = told(made)
    code, again = replayed(recording, [files / f"{name}{SUFFIX}" for name in RULES])
    rss, cpu = watch.column("rss"), watch.column("cpu")
    at = watch.column("time")
    per_tick = np.diff(cpu) / np.maximum(np.diff(np.interp(at, times, ticks)), 1.0)
    busy = np.diff(np.interp(at, times, ticks)) > 50  # seconds in which the loop ran
    when, per_tick = at[1:][busy], 1e6 * per_tick[busy]
    slopes = {
        "rss_bytes_per_s": slope(at, rss),
        "latency_p50_us_per_s": slope(times, watch.on_an_even_machine(times, latency)),
        "cpu_us_per_tick_per_s": slope(when, watch.on_an_even_machine(when, per_tick)),
    }
    found = {
        "seconds": round(seconds),
        "ticks": int(ticks[-1]),
        "replayed": {name: again[name] for name in REPLAYED},
        "recorded_MB": round(recording.stat().st_size / 1e6),
        "events": events,
        "falls": soak.falls,
        "outcomes": dict(sorted(soak.outcomes.items())),
        "commands": within.commands,
        "damping": within.damping,
        "outside": len(within.outside),
        "inwards": within.inwards,
        "rss_MB": [round(float(x) / 1e6, 1) for x in (rss[0], np.median(rss), rss[-1])],
        "latency_p50_us": quarters(latency),
        "cpu_us_per_tick": quarters(per_tick),
        "pace_us": quarters(1e6 * watch.column("pace")),
        **{name: [round(x, 3) for x in (mid, *ends)] for name, (mid, ends) in slopes.items()},
        **{name: watch.spread(name) for name in ("descriptors", "threads")},
    }
    keep("soak", found)
    assert not within.outside
    assert (code, again["lost"]) == (0, 0), again
    assert again["ticks"] > found["ticks"] / 2, again  # the others led to the default pose
    assert slopes["rss_bytes_per_s"][1][0] * horizon < rss[0], found
    for name in ("latency_p50_us_per_s", "cpu_us_per_tick_per_s"):
        assert slopes[name][1][0] * horizon < 1e6 * PERIOD, (name, found)
    for name in ("descriptors", "threads"):
        assert watch.raised(name) <= 0, (name, found)


def quarters(x):
    """Return the median of each quarter."""
    return [round(float(np.median(part))) for part in np.array_split(x, 4)]


def told(made):
    """Return what the controller's diagnostics said: steady times, ticks of all runs, latencies in µs."""
    rows = []
    for when, array in made.diagnostics.items:
        for status in array.status:
            found = values(status)
            if status.name.endswith("Control Loop") and "latency_p50_us" in found:
                rows.append((when, int(found["ticks"]), float(found["latency_p50_us"])))
    return np.array(rows).T
