"""The command line: bad input is one clear line and exit code 2; help shows an example."""

import json
import math
import os
import pickle
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from rule_bytes import pack, rule_bytes, unpack
from toys import CHANNELS, PERIOD, make_record, toy_rule, update_spec

from hebb_controller import cli
from hebb_controller.benchmark import bench_rule
from hebb_controller.cli.evaluate import _report
from hebb_controller.rule_file import load_rule
from hebb_controller.runtime.numpy_runtime import NumpyRuntime

NAME = "toy.rule.safetensors"
KEPT = rule_bytes(toy_rule())


@pytest.fixture
def rule(tmp_path):
    """Return the path of a good rule for the toy robot."""
    path = tmp_path / NAME
    path.write_bytes(KEPT)
    return path


def poisoned():
    document, tensors = unpack(KEPT)
    tensors["layer1.D"][0, 2] = math.nan
    return pack(document, tensors)


BAD_FILES = {
    "truncated": (KEPT[:-100], "truncated or damaged"),
    "cut in the header": (KEPT[:300], "the header is incomplete"),
    "empty": (b"", "not a rule file"),
    "NaN in a coefficient": (poisoned(), "layer1.D[0, 2] is nan; every coefficient must be finite"),
    "a pickle": (pickle.dumps({"A": np.ones(3)}), "this is a Python pickle, not a rule file"),
    "missing": (None, "no such file"),
}


@pytest.mark.parametrize("case", BAD_FILES)
@pytest.mark.parametrize("command", ["verify", "inspect"])
def test_a_bad_rule_file_is_one_line_and_exit_code_2(hebb, tmp_path, robot_file, command, case):
    data, words = BAD_FILES[case]
    path = tmp_path / "bad.rule.safetensors"
    if data is not None:
        path.write_bytes(data)
    options = ["--robot", robot_file] if command == "verify" else []
    code, _, errors = hebb(command, path, *options)
    assert code == 2
    assert errors.count("\n") == 1
    assert errors.startswith(f"error: {path}: ")
    assert words in errors


def test_a_rule_for_another_robot_is_one_line_and_exit_code_2(hebb, rule):
    code, _, errors = hebb("verify", rule, "--robot", "a1")
    assert code == 2
    assert errors.count("\n") == 1
    assert errors.startswith(
        f"error: {rule}: trained for robot 'toy' (2 joints), this is 'a1' (12)"
    )


def test_an_unknown_robot_is_one_line_and_exit_code_2(hebb, rule):
    code, output, errors = hebb("verify", rule, "--robot", "spot")
    assert (code, output) == (2, "")
    assert errors.startswith("error: robot 'spot': no such spec. Shipped: ")
    assert errors.count("\n") == 1


def test_a_good_rule_passes_every_check(hebb, rule, robot_file):
    code, output, errors = hebb("verify", rule, "--robot", robot_file)
    assert (code, errors) == (0, "")
    assert [line.split()[:2] for line in output.splitlines()] == [
        ["ok", "file"],
        ["ok", "contract"],
        ["ok", "golden"],
        ["ok", "trial"],
        ["ok", "time"],
    ]


def test_verify_speaks_json(hebb, rule, robot_file):
    code, output, _ = hebb("verify", rule, "--robot", robot_file, "--json")
    report = json.loads(output)
    assert code == 0
    assert set(report) == {"ok", "checks", "p99_tick_us", "sha256"}
    assert report["ok"] is True
    assert report["sha256"] == load_rule(rule).sha256
    assert 0 < report["p99_tick_us"] < 1e6
    assert [set(check) for check in report["checks"]] == [{"name", "ok", "detail"}] * 5


def test_verify_speaks_json_of_bad_rules_too(hebb, rule):
    rule.write_bytes(KEPT[:-1])
    code, output, errors = hebb("verify", rule, "--json")
    report = json.loads(output)
    assert code == 2
    assert report["ok"] is False
    assert [check["ok"] for check in report["checks"]] == [False]
    assert report["sha256"] is None
    assert errors.count("\n") == 1


def test_verify_finds_a_rule_whose_weights_explode(hebb, tmp_path, robot_file):
    # Without normalisation, B = 1e9 adds up to 1e9 · 1e9 · 1e9 a tick where an observation may be as
    # large; some hundred such changes times such observations overflow.
    huge = (replace(CHANNELS[0], clip=1e9), *CHANNELS[1:])
    rule = toy_rule("ABC", update=update_spec(learning_rate=1e9), channels=huge)
    document, tensors = unpack(rule_bytes(rule))
    for name, tensor in tensors.items():
        tensor[:] = 1e9 if name.endswith("B") else 0.0
    path = tmp_path / NAME
    path.write_bytes(pack(document, tensors))
    code, _, errors = hebb("verify", path, "--robot", robot_file)
    assert code == 2
    assert "stop being finite at tick" in errors
    assert errors.count("\n") == 1


def compute(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


@pytest.fixture
def slow(monkeypatch):
    """Return the function that makes each tick spend six tenths of its period in some way."""
    step = NumpyRuntime.step
    monkeypatch.setattr(sys.modules["hebb_controller.cli.verify"], "TRIAL_TICKS", 30)

    def make(spend):
        def slow_step(self, observation):
            spend(0.6 * PERIOD)
            return step(self, observation)

        monkeypatch.setattr(NumpyRuntime, "step", slow_step)

    return make


def test_a_rule_that_computes_for_too_long_is_found(hebb, rule, robot_file, slow):
    slow(compute)
    code, _, errors = hebb("verify", rule, "--robot", robot_file)
    assert code == 2
    assert "of processor time; 50% of the period" in errors


def test_what_else_the_machine_does_is_not_the_rules_fault(hebb, rule, robot_file, slow):
    slow(time.sleep)
    assert hebb("verify", rule, "--robot", robot_file)[0] == 0


def commands(group=cli.hebb, path=()):
    """Yield the words of every command."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_the_help_of_every_command_shows_an_example(words):
    result = CliRunner().invoke(cli.hebb, [*words, "--help"])
    assert result.exit_code == 0
    assert "Example" in result.output
    assert f"hebb {' '.join(words)}" in result.output.split("Example")[1]


def test_the_commands_are_the_promised_ones():
    promised = {"train", "evaluate", "inspect", "verify", "diff", "export", "bench", "replay"}
    assert promised | {"demo", "sign"} <= set(cli.hebb.commands)
    assert {("bench", "sim"), ("bench", "runtime")} <= set(commands())
    assert {("sign", "keygen"), ("sign", "file")} <= set(commands())


def test_the_module_runs_like_the_command(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "hebb_controller.cli", "verify", "gone.rule.safetensors"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr == "error: gone.rule.safetensors: no such file.\n"
    assert "Traceback" not in done.stdout + done.stderr


def test_a_disk_that_is_full_behind_the_output_is_one_line(rule):
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = subprocess.run(
            [sys.executable, "-m", "hebb_controller.cli", "inspect", str(rule)],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
                "PYTHONUNBUFFERED": "",  # so that the output is written once more at the exit
            },
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 2
    assert done.stderr == "error: No space left on device.\n"


def test_a_missing_extra_is_one_line_that_says_what_to_install(hebb, rule, monkeypatch):
    monkeypatch.setitem(sys.modules, "hebb_sim.episode", None)
    monkeypatch.setattr(cli, "_EXTRAS", {"hebb_sim": ("pybullet", "sim")})
    code, _, errors = hebb("evaluate", rule)
    assert code == 2
    assert errors == (
        "error: pybullet is not installed. Fix: pip install '.[sim]' in a checkout of hebb_controller\n"
    )


def test_the_bench_rule_is_the_published_network():
    rule = bench_rule(np.random.default_rng(0))
    assert rule.header.layer_sizes == (28, 128, 64, 8)
    assert rule.n_synapses == 12_288
    assert rule.n_parameters == 61_440


def test_an_evaluation_by_hand():
    # 4 s at 1 m/s each; the second episode falls after 2 s, having turned by 0.5 rad
    steps = [(0.125 * (i + 1), 0.0, 0.0) for i in range(32)]
    walked = make_record(steps)
    fell = make_record(
        steps[:16],
        duration=4.0,
        fallen=True,
        heading=np.linspace(0.0, -0.5, 16),
        beyond_limits=np.full(16, 0.125),
    )
    # 1 m/s for 3 s before the damage at 3 s; then it stands still, or falls at once
    limps = make_record(steps[:24] + [steps[23]] * 24)
    falls = make_record(steps[:24], duration=6.0, fallen=True)
    report = _report({"": [walked, fell], "limp": [limps, falls]}, 3.0, 4.0)
    assert report["episodes"] == 2
    assert report["speed_mean"] == 0.75  # 1 and 2 m in 4 s
    assert report["speed_std"] == 0.25
    assert report["fall_rate"] == 0.5
    assert report["heading_p90_rad"] == pytest.approx(0.45)  # between 0 and 0.5
    assert report["beyond_limits_max_rad"] == 0.125
    report = _report({"": [walked], "limp": [limps, falls]}, 3.0, 6.0)
    assert report["damage"]["limp"] == {
        "episodes": 2,
        "speed_before": 1.0,
        "speed_after": 0.0,
        "retained_speed": 0.0,
        "fall_rate": 0.5,
    }


def test_a_robot_on_which_nothing_is_measured_is_refused(hebb, rule, tmp_path):
    code, _, errors = hebb("export", rule, "--onnx", tmp_path / "x.onnx", "--robot", "a1")
    assert code == 2
    assert errors.splitlines()[-1] == "Error: --robot needs --rule."
