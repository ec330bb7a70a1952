"""Imports go one way, and what is heavy or optional stays where it belongs.

``MAY_IMPORT`` is the whole rule. The sources are parsed, never imported, so imports inside functions
and under ``TYPE_CHECKING`` count as well.
"""

import ast
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# The directories that hold our packages, by the name under which they are imported.
PACKAGES = {"hebb_controller": ROOT / "hebb_controller", "hebb_sim": ROOT / "sim"}

BASE = frozenset({"errors", "share", "stop_signals"})
SEAM = BASE | {"spec_completeness", "robot", "rotation", "signals"}
CORE = SEAM | {"observation", "safety", "plasticity", "network", "velocity_filter"}
RULE = CORE | {"contract", "files", "json_fields", "rule", "rule_file", "signature", "tensor_file"}
RUN = RULE | {"runtime"}
TICK = RUN | {"controller", "record"}

# module, or package with all that is in it -> (what it may import of ours, which guarded packages).
# The longest name that fits a module decides. `cli` stands for every module whose name begins with it.
MAY_IMPORT: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {
    "__init__": (TICK, frozenset()),
    "errors": (frozenset(), frozenset()),
    "share": (frozenset({"errors"}), frozenset()),
    "stop_signals": (frozenset(), frozenset()),
    "files": (frozenset({"errors"}), frozenset()),
    "rotation": (frozenset(), frozenset()),
    "spec_completeness": (frozenset(), frozenset()),
    "robot": (SEAM, frozenset()),
    "urdf": (SEAM, frozenset()),
    "spec_draft": (SEAM | {"urdf"}, frozenset()),
    "signals": (SEAM, frozenset()),
    "velocity_filter": (SEAM, frozenset()),
    "observation": (CORE, frozenset()),
    "safety": (CORE, frozenset()),
    "plasticity": (CORE, frozenset()),
    "network": (CORE, frozenset()),
    "json_fields": (BASE, frozenset()),
    "tensor_file": (BASE | {"files", "json_fields"}, frozenset()),
    "contract": (CORE, frozenset()),
    "rule": (RULE, frozenset()),
    "rule_file": (RULE, frozenset()),
    "signature": (frozenset({"errors", "files"}), frozenset({"cryptography"})),
    "rule_diff": (RULE, frozenset()),
    "recording": (RUN, frozenset()),
    "replay": (RUN | {"recording", "rounding"}, frozenset()),
    "mcap_file": (BASE | {"recording"}, frozenset({"mcap"})),
    "onnx_export": (RULE, frozenset({"onnx"})),
    "runtime": (RUN | {"onnx_export"}, frozenset({"onnx", "onnxruntime"})),
    "controller": (RUN, frozenset()),
    "record": (SEAM | {"record"}, frozenset()),
    "bridge": (SEAM | {"bridge"}, frozenset({"serial"})),
    "bridge.frame": (frozenset({"errors"}), frozenset()),
    "doctor": (CORE | {"doctor"}, frozenset()),
    "node": (TICK | {"bridge", "envelope", "node", "recording"}, frozenset({"rclpy"})),
    "node.doctor": (TICK | {"doctor", "node"}, frozenset({"rclpy"})),
    "node.inputs": (TICK | {"doctor", "node"}, frozenset({"rclpy"})),
    "node.spinning": (frozenset(), frozenset({"rclpy"})),
    "node.recorder_node": (BASE | {"mcap_file", "node"}, frozenset({"rclpy"})),
    "node.bench": (TICK | {"node"}, frozenset()),
    "node.latency": (TICK | {"node"}, frozenset({"rclpy"})),
    "train": (
        TICK | {"envelope", "golden", "recording", "train"},
        frozenset({"torch", "scipy", "tqdm"}),
    ),
    "train.ray_executor": (TICK | {"train"}, frozenset({"ray"})),
    "hebb_sim": (TICK | {"hebb_sim"}, frozenset({"pybullet"})),
    "hebb_sim.messages": (TICK | {"hebb_sim"}, frozenset({"rclpy"})),
    "hebb_sim.sim_node": (
        TICK | {"hebb_sim", "node.spinning"},
        frozenset({"pybullet", "rclpy"}),
    ),
    "memory_horizon": (TICK, frozenset()),
    "rounding": (RULE, frozenset()),
    "golden": (RUN | {"rounding"}, frozenset()),
    "envelope": (RUN, frozenset()),
    "benchmark": (TICK, frozenset({"numba"})),
    "plots": (TICK | {"plots"}, frozenset({"matplotlib", "PIL"})),
    "plots.timing": (TICK | {"benchmark", "plots"}, frozenset({"matplotlib", "PIL"})),
    "plots.evaluation": (TICK | {"plots", "train"}, frozenset({"matplotlib", "PIL"})),
    "demo": (TICK | {"demo", "node"}, frozenset({"rclpy"})),
    "testing": (TICK | {"hebb_sim", "node"}, frozenset({"pytest", "rclpy"})),
    "cli": (
        TICK
        | {"benchmark", "bridge", "cli", "demo", "hebb_sim", "plots", "train"}
        | {"doctor", "golden", "mcap_file", "memory_horizon", "node.bench", "node.doctor"}
        | {"node.latency", "onnx_export", "recording", "replay", "rule_diff", "spec_draft"},
        frozenset({"PIL", "onnx", "tqdm"}),
    ),
}

# Third-party packages that not every module may import, each with the packages that come with it.
GUARDED: Mapping[str, tuple[str, ...]] = {
    "torch": (),
    "scipy": (),
    "tqdm": (),
    "pybullet": ("pybullet_data",),
    "rclpy": (
        "ament_index_python",
        "builtin_interfaces",
        "diagnostic_msgs",
        "geometry_msgs",
        "launch",
        "launch_ros",
        "lifecycle_msgs",
        "nav_msgs",
        "rcl_interfaces",
        "rosgraph_msgs",
        "sensor_msgs",
        "std_msgs",
        "std_srvs",
    ),
    "onnxruntime": (),
    "onnx": ("google",),
    "serial": (),
    "matplotlib": (),
    "PIL": (),
    "cryptography": (),
    "numba": ("llvmlite",),
    "ray": (),
    "mcap": ("mcap_ros2",),
    "pytest": (),
    "tests": ("conftest", "hypothesis"),
}
GUARD_OF = {name: guard for guard, more in GUARDED.items() for name in (guard, *more)}

# Importing these must load nothing guarded, however many modules lie between: they are what a robot,
# the command line or a worker process loads.
LIGHT = (
    "hebb_controller",
    "hebb_controller.cli",
    "hebb_controller.controller",
    "hebb_controller.runtime",
    "hebb_controller.train.executor",
    "hebb_controller.train.genome",
    "hebb_controller.train.metrics",
    "hebb_controller.train.suite",
    "hebb_sim",
)


@dataclass(frozen=True)
class Import:
    """One import in a source file; ``at_top`` when importing the module carries it out."""

    target: str
    line: int
    at_top: bool


def modules(packages: Mapping[str, Path]) -> dict[str, Path]:
    """Return every module of the packages with its file; a package is named without __init__."""
    found = {}
    for package, directory in packages.items():
        for path in sorted(directory.rglob("*.py")):
            parts = path.relative_to(directory).with_suffix("").parts
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            found[".".join((package, *parts))] = path
    return found


def _checks_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def _walk(node: ast.AST, *, at_top: bool) -> Iterator[tuple[ast.AST, bool]]:
    for child in ast.iter_child_nodes(node):
        deeper = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
        inside = at_top and not isinstance(child, deeper) and not _checks_types_only(child)
        yield child, inside
        yield from _walk(child, at_top=inside)


def imports(name: str, path: Path, known: Mapping[str, Path]) -> list[Import]:
    """Return what a module imports, as full names; of ours, down to the module."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found = []
    for node, at_top in _walk(ast.parse(path.read_text(encoding="utf-8")), at_top=True):
        targets: list[str] = []
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*above, *filter(None, [node.module])] if node.level else [node.module])
            full = [f"{base}.{alias.name}" for alias in node.names]
            targets = [target if target in known else base for target in full]
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func).rpartition(".")[2]
            literal = node.args and isinstance(node.args[0], ast.Constant)
            if called in {"import_module", "__import__"} and literal:
                targets = [str(node.args[0].value)]
        found += [Import(target, node.lineno, at_top) for target in dict.fromkeys(targets)]
    return found


def short(name: str) -> str:
    """Return a module's name as ``MAY_IMPORT`` writes it."""
    if name == "hebb_controller":
        return "__init__"
    return name.removeprefix("hebb_controller.")


def row_of(name: str) -> str | None:
    """Return the key of ``MAY_IMPORT`` that decides for a module."""
    parts = short(name).split(".")
    if parts[0].startswith("cli"):
        return "cli"
    candidates = [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
    return next((candidate for candidate in candidates if candidate in MAY_IMPORT), None)


def violations(packages: Mapping[str, Path]) -> list[str]:
    """Return one line for each import that the table does not allow."""
    known = modules(packages)
    found = []
    for name, path in known.items():
        row = row_of(name)
        if row is None:
            found.append(f"{name} has no row in MAY_IMPORT: say what it may import")
            continue
        ours, guarded = MAY_IMPORT[row]
        for item in imports(name, path, known):
            top = item.target.partition(".")[0]
            if top in packages:
                target = row_of(item.target)
                same_root = item.target == "hebb_controller"
                package = (target or "").partition(".")[0]
                allowed = same_root or target in ours or package in ours
            else:
                allowed = GUARD_OF.get(top, "") in {"", *guarded}
            if not allowed:
                found.append(f"{path.name}:{item.line}: {name} may not import {item.target}")
    return found


def loaded_by(start: str, packages: Mapping[str, Path]) -> dict[str, str]:
    """Return what importing ``start`` imports, directly or not: name -> the module that asked."""
    known = modules(packages)
    asked_by: dict[str, str] = {}
    waiting = [(start, "")]
    while waiting:
        name, asker = waiting.pop()
        if name in asked_by:
            continue
        asked_by[name] = asker
        if "." in name:
            waiting.append((name.rpartition(".")[0], name))
        if name in known:
            waiting += [(i.target, name) for i in imports(name, known[name], known) if i.at_top]
    return asked_by


def cycle(packages: Mapping[str, Path]) -> list[str]:
    """Return the modules of one circle of imports at the top of modules, or an empty list."""
    known = modules(packages)
    below = {
        name: [i.target for i in imports(name, path, known) if i.at_top and i.target in known]
        for name, path in known.items()
    }
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> list[str]:
        if name in trail:
            return [*trail[trail.index(name) :], name]
        if name in done:
            return []
        for target in below[name]:
            if circle := visit(target, (*trail, name)):
                return circle
        done.add(name)
        return []

    return next((circle for name in known if (circle := visit(name, ()))), [])


def test_every_import_is_in_the_table() -> None:
    found = violations(PACKAGES)
    assert not found, "\n".join(found)


def test_no_module_imports_itself_in_a_circle() -> None:
    assert not cycle(PACKAGES)


@pytest.mark.parametrize("name", LIGHT)
def test_what_robots_and_workers_load_is_light(name: str) -> None:
    if name not in modules(PACKAGES):
        pytest.skip(f"there is no {name}")
    loaded = loaded_by(name, PACKAGES)
    heavy = {
        f"{asker} imports {n}" for n, asker in loaded.items() if n.partition(".")[0] in GUARD_OF
    }
    assert not heavy


def test_the_core_needs_only_numpy_safetensors_and_what_the_command_line_needs() -> None:
    allowed = {"numpy", "safetensors", "yaml", "click", *PACKAGES, *sys.stdlib_module_names}
    known = modules(PACKAGES)
    for name, path in known.items():
        for item in imports(name, path, known):
            top = item.target.partition(".")[0]
            assert top in allowed | GUARD_OF.keys(), f"{name}:{item.line} imports {item.target}"


PLANTED = [
    ("controller.py", "from .node import controller_node"),
    ("controller.py", "def tick():\n    import hebb_controller.node.controller_node"),
    ("controller.py", "from . import train"),
    ("errors.py", "from .robot import RobotSpec"),
    ("robot.py", "from .controller import Controller"),
    ("signals.py", "import torch.nn"),
    ("network.py", "if TYPE_CHECKING:\n    from hebb_controller.runtime import base"),
    ("runtime/base.py", "from ..controller import Controller"),
    ("runtime/base.py", "from sensor_msgs.msg import Imu"),
    ("bridge/frame.py", "from ..signals import Command"),
    ("bridge/frame.py", "import serial"),
    ("recording.py", "from mcap.writer import Writer"),
    ("train/evolution.py", "import hebb_sim.world"),
    ("train/evolution.py", "importlib.import_module('hebb_sim')"),
    ("train/evolution.py", "from ..node.parameters import TABLE"),
    ("node/controller_node.py", "from ..train import metrics"),
    ("cli_demo.py", "from .node import controller_node"),
    ("controller.py", "import tests.support"),
    ("unheard_of.py", ""),
]


@pytest.mark.parametrize(("file", "source"), PLANTED)
def test_a_planted_wrong_import_is_found(tmp_path: Path, file: str, source: str) -> None:
    for planted in {file for file, _ in PLANTED}:
        path = tmp_path / planted
        path.parent.mkdir(exist_ok=True)
        for empty in (path.parent / "__init__.py", path):
            if empty.name != "unheard_of.py" or planted == file:
                empty.touch()
    (tmp_path / file).write_text(source, encoding="utf-8")
    assert len(violations({"hebb_controller": tmp_path, "hebb_sim": tmp_path / "none"})) == 1


def test_a_planted_heavy_import_is_found_through_other_modules(tmp_path: Path) -> None:
    (tmp_path / "__init__.py").touch()
    (tmp_path / "executor.py").write_text("from .metrics import mean", encoding="utf-8")
    (tmp_path / "metrics.py").write_text("try:\n    import torch\nexcept ImportError: ...\n")
    loaded = loaded_by("hebb_controller.executor", {"hebb_controller": tmp_path})
    assert loaded["torch"] == "hebb_controller.metrics"


def test_a_planted_circle_is_found(tmp_path: Path) -> None:
    (tmp_path / "__init__.py").touch()
    (tmp_path / "a.py").write_text("from . import b", encoding="utf-8")
    (tmp_path / "b.py").write_text("from .a import x", encoding="utf-8")
    assert cycle({"p": tmp_path}) == ["p.a", "p.b", "p.a"]
