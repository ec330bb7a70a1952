"""What ``hebb inspect`` shows of a rule: numbers, a small picture, and a large one."""

import hashlib
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from rule_bytes import rule_bytes
from toys import toy_baseline, toy_rule

from hebb_controller import cli
from hebb_controller.cli.inspect import BASELINES, BINS, _picture
from hebb_controller.errors import HebbError, RuleFileError
from hebb_controller.rule import Envelope, LayerEnvelope, StaticTwin, make_rule
from hebb_controller.train.baseline_file import BASELINE_KINDS, SUFFIX, save_baseline


def inspect(path, rule, *options):
    path = path / "toy.rule.safetensors"
    path.write_bytes(rule_bytes(rule))
    return CliRunner().invoke(cli.hebb, ["inspect", str(path), *map(str, options)])


def test_a_histogram_is_drawn_by_hand():
    values = np.array([0.0] * 7 + [BINS - 1.0], np.float32)
    title, line = _picture({"A": {0: values[:4], 1: values[4:]}})
    assert title.split() == ["distributions:", "mean", "std", "min", "max"]
    bars = line[line.index("█") :][:BINS]
    # seven values fill the first column; one of seven, rounded up, is two of eight steps
    assert bars == "█" + " " * (BINS - 2) + "▂"
    assert line.endswith(f"{(BINS - 1) / 8:9.3g} {line.split()[-3]:>9s} {0:9.3g} {BINS - 1:9.3g}")


def test_values_that_are_all_the_same_are_drawn_too():
    _, line = _picture({"A": {0: np.ones(5, np.float32)}})
    assert line.count("█") == 1
    assert list(_picture({})) == []


def test_values_that_are_neighbours_in_float32_are_drawn_too(tmp_path):
    plots = pytest.importorskip("hebb_controller.plots.weights")
    one = np.float32(1.0)
    for values in ((one, np.nextafter(one, np.float32(2.0))), (0.0, 1e-45)):
        named = {"A": {0: np.array(values, np.float32)}}
        assert _picture(named)
        plots.coefficient_plot(named, tmp_path / "a.png")


def test_there_is_a_line_for_each_kind_of_coefficient(tmp_path):
    done = inspect(tmp_path, toy_rule())
    assert done.exit_code == 0
    lines = done.stdout.partition("distributions:")[2].splitlines()[1:]
    assert [line.split()[0] for line in lines] == ["A", "B", "C", "D", "eta"]
    assert all(re.search("[▁-█]", line) for line in lines)


def test_what_was_measured_is_shown_where_the_rule_has_it(tmp_path):
    plain = toy_rule()
    report = json.loads(inspect(tmp_path, plain, "--json").stdout)
    assert (report["envelope"], report["static_twin"], report["golden_ticks"]) == (None, None, 0)
    header = replace(
        plain.header,
        envelope=Envelope(1000, (LayerEnvelope(1.5, 0.5, 0.25), LayerEnvelope(2.5, 0.25, 0.0))),
        static_twin=StaticTwin(5, 10.0, 0.5, 0.25),
    )
    rule = make_rule(header, plain.layers, static=[layer["A"] for layer in plain.layers])
    report = json.loads(inspect(tmp_path, rule, "--json").stdout)
    assert report["envelope"]["ticks"] == 1000
    assert report["envelope"]["layer1"] == {"norm": 2.5, "change": 0.25, "saturation": 0.0}
    assert report["static_twin"]["speed"] == 0.5
    text = inspect(tmp_path, rule).stdout
    assert "norm 1.5, change 0.5, saturation 0.25" in text
    assert [line.split()[0] for line in text.splitlines()][-1] == "static"


def test_what_would_do_something_to_the_terminal_is_shown_and_not_done(tmp_path):
    rule = toy_rule()
    rule = replace(
        rule,
        header=replace(rule.header, provenance={"by": "\x1b[31mme", "\x1b]0;hi": 1, "to": "Zoë"}),
    )
    shown = inspect(tmp_path, rule).output
    assert "\x1b" not in shown
    assert r'"\u001b[31mme"' in shown
    assert r'"\u001b]0;hi"' in shown
    assert "Zoë" in shown


def test_a_robot_that_is_not_shipped_only_costs_the_memory_horizon(tmp_path):
    report = json.loads(inspect(tmp_path, toy_rule(), "--json").stdout)
    assert report["memory_horizon"]["measured"] is False


def test_a_robot_of_that_name_that_it_does_not_fit_costs_only_that_too(tmp_path):
    rule = toy_rule()
    contract = replace(rule.header.contract, robot="a1")
    rule = make_rule(replace(rule.header, contract=contract), rule.layers)
    done = inspect(tmp_path, rule, "--json")
    assert done.exit_code == 0
    assert "trained for robot 'a1'" in json.loads(done.stdout)["memory_horizon"]["why"]


def test_the_plot_is_a_png(tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "out.png"
    done = inspect(tmp_path, toy_rule(), "--plot", path, "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["kind"] == "ABCD_eta"
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_rule_without_coefficients_has_nothing_to_draw(tmp_path):
    pytest.importorskip("matplotlib")
    rule = toy_rule("static")
    assert inspect(tmp_path, rule).exit_code == 0
    done = inspect(tmp_path, rule, "--plot", tmp_path / "out.png")
    assert isinstance(done.exception, HebbError)
    assert isinstance(
        inspect(tmp_path, toy_rule(), "--plot", tmp_path / "x.jpg").exception, HebbError
    )


@pytest.mark.parametrize("kind", BASELINE_KINDS)
def test_a_baseline_is_shown_for_what_it_is(tmp_path, kind):
    path = tmp_path / f"one{SUFFIX}"
    baseline = toy_baseline(kind)
    save_baseline(baseline, path)
    done = CliRunner().invoke(cli.hebb, ["inspect", str(path), "--json"])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["what"].startswith(BASELINES[kind])
    assert (report["kind"], report["frames"]) == (kind, baseline.header.frames)
    assert report["parameters"] == sum(t.size for t in baseline.tensors.values())
    assert report["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    name, tensor = next(iter(baseline.tensors.items()))
    assert report["weights"][name]["max"] == tensor.max()
    text = CliRunner().invoke(cli.hebb, ["inspect", str(path)]).stdout
    drawn = [line.split()[0] for line in text.partition("distributions:")[2].splitlines()[1:]]
    assert drawn == list(baseline.tensors)


def test_what_is_named_like_a_baseline_and_is_none_is_refused_in_one_line(tmp_path):
    path = tmp_path / f"one{SUFFIX}"
    path.write_bytes(rule_bytes(toy_rule()))
    done = CliRunner().invoke(cli.hebb, ["inspect", str(path)])
    assert isinstance(done.exception, RuleFileError)
    assert "not a baseline file" in str(done.exception) or "hebb_baseline" in str(done.exception)


def test_inspect_knows_every_kind_of_baseline():
    assert set(BASELINES) == set(BASELINE_KINDS)
