"""docs/rule_file.md says all there is, and what it says works."""

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from hebb_controller.contract import ACTUATORS, Contract, JointContract
from hebb_controller.network import DISTRIBUTIONS, InitialSpec
from hebb_controller.observation import CHANNELS, CLOCK_FREQUENCY, Channel
from hebb_controller.plasticity import NORMALISATIONS, RULE_KINDS, UpdateSpec
from hebb_controller.rounding import TANH, U
from hebb_controller.rule import (
    FORMAT_VERSION,
    MAX_GOLDEN_TICKS,
    MAX_LAYER_SIZE,
    MAX_LAYERS,
    MAX_SYNAPSES,
    Envelope,
    Golden,
    LayerEnvelope,
    RuleHeader,
    StaticTwin,
)
from hebb_controller.rule_file import (
    HEADER_KEY,
    LAYOUT,
    SUFFIX,
    load_rule,
)
from hebb_controller.runtime.numpy_runtime import NumpyRuntime
from hebb_controller.tensor_file import MAX_DIMENSIONS, MAX_HEADER_BYTES

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "rule_file.md").read_text(encoding="utf-8")
EXAMPLE = ROOT / "examples" / "build_rule.py"


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the tables between a heading and the next one."""
    section = re.split(r"^#+ ", PAGE, flags=re.MULTILINE)
    (text,) = (part for part in section if part.split("\n")[0] == heading)
    lines = [line for line in text.splitlines() if line.startswith("|") and "---" not in line]
    return [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in lines
        if not line.startswith("| field |")
    ]


SECTIONS = {
    "The document": [RuleHeader],
    "update": [UpdateSpec],
    "initial": [InitialSpec],
    "contract": [Contract, Channel, JointContract],
    "envelope": [Envelope, LayerEnvelope],
    "static_twin": [StaticTwin],
}


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_field_has_a_row_and_every_row_is_a_field(heading):
    found = [row[0] for row in rows(heading)]
    if heading == "contract":
        found = [cell for cell in found if cell not in {"channel", *(f"`{c}`" for c in CHANNELS)}]
    expected = [f"`{field.name}`" for kind in SECTIONS[heading] for field in fields(kind)]
    assert sorted(found) == sorted(expected)


def test_what_may_be_left_out_is_called_optional():
    optional = {row[0].strip("`") for row in rows("The document") if "*optional*" in row[1]}
    assert optional == {f.name for f in fields(RuleHeader) if f.default is None}
    of_contract = {row[0].strip("`") for row in rows("contract") if "*optional*" in row[1]}
    assert of_contract == {f.name for f in fields(Contract) if f.default is None}


def test_every_kind_has_a_row_with_its_tensors():
    found = {row[0].strip("`"): row for row in rows("Kinds")[1:]}
    assert list(found) == list(RULE_KINDS)
    for name, kind in RULE_KINDS.items():
        tensors = found[name][1].removesuffix(", each per neuron")
        assert kind.per_neuron == (tensors != found[name][1])
        assert tuple(tensors.split(", ")) == (kind.tensors or ("none",))


def test_every_channel_has_a_row_with_its_size():
    found = {row[0].strip("`"): row[1] for row in rows("contract")}
    for name, channel in CHANNELS.items():
        size = {3: "3", 2: "2", 7: "n"}[channel.size(7)]
        assert found[name] == size
    assert f"{CLOCK_FREQUENCY:g} Hz" in PAGE


@pytest.mark.parametrize(
    ("names", "heading"),
    [(NORMALISATIONS, "update"), (DISTRIBUTIONS, "initial"), (ACTUATORS, "contract")],
)
def test_every_choice_is_named_where_it_is_chosen(names, heading):
    cells = " ".join(row[2] for row in rows(heading) if len(row) > 2)
    for name in names:
        assert f"`{name}`" in cells


def test_every_tensor_is_named():
    found = {row[0].strip("`") for row in rows("Tensors")}
    assert {f"golden.{field.name}" for field in fields(Golden)} <= found
    assert {"layer{k}.initial", "layer{k}.static"} <= found


def test_every_limit_is_as_the_code_has_it():
    found = [row[1] for row in rows("Limits")[1:]]
    assert found == [
        f"{LAYOUT.max_bytes // 2**20} MiB",
        f"{MAX_HEADER_BYTES // 2**20} MiB",
        f"{MAX_SYNAPSES:,}",
        str(MAX_GOLDEN_TICKS),
        f"{MAX_DIMENSIONS} (none needs more than 2)",
    ]
    assert f"2 to {MAX_LAYERS} layers, each of 1 to {MAX_LAYER_SIZE:,}" in PAGE
    assert PAGE.startswith(f"# The rule file, version {FORMAT_VERSION}\n")
    assert f"`{HEADER_KEY}`" in PAGE
    assert f"`{SUFFIX}`" in PAGE
    assert (f"{U:.0e}", "u = 2⁻²⁴" in PAGE) == (f"{2**-24:.0e}", True)
    assert f"{TANH / U:g}u·|post|" in PAGE


def test_a_file_written_by_the_recipe_alone_loads_and_runs(tmp_path):
    (recipe,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    imported = set(re.findall(r"^(?:import|from) (\w+)", recipe, flags=re.MULTILINE))
    assert imported == {"json", "struct"}
    (tmp_path / "recipe.py").write_text(recipe, encoding="utf-8")
    subprocess.run([sys.executable, "-I", "recipe.py"], cwd=tmp_path, check=True, timeout=60)
    rule = load_rule(tmp_path / "knee.rule.safetensors")
    assert rule.header.contract.joints[0].name == "knee"
    runtime = NumpyRuntime(rule)
    runtime.reset(np.random.default_rng(0))
    before = runtime.state["weights"]
    pre = np.array([1.0, -1.0, 0.5], dtype=np.float32)
    post = runtime.step(pre)
    expected = before + 0.1 * 0.5 * post * pre  # as the page says
    np.testing.assert_allclose(runtime.state["weights"], expected, rtol=0, atol=1e-7)


def test_the_example_builds_a_rule_that_loads_and_runs(tmp_path):
    path = tmp_path / "built.rule.safetensors"
    subprocess.run([sys.executable, str(EXAMPLE), str(path)], check=True, timeout=60)
    rule = load_rule(path)
    assert rule.header.layer_sizes == (15, 32, 12)
    runtime = NumpyRuntime(rule)
    runtime.reset(np.random.default_rng(0))
    assert runtime.step(np.ones(15, dtype=np.float32)).shape == (12,)
