"""What `pip install` brings, and what it leaves out."""

import json
import statistics
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(300)

ROOT = Path(__file__).resolve().parents[2]
RULE = "a1_walk.rule.safetensors"
HEAVY = ("torch", "scipy", "pybullet", "rclpy", "onnxruntime", "matplotlib", "PIL", "mcap", "tqdm")


def test_without_extras_only_what_the_core_needs_comes(plain, tmp_path, run):
    listed = json.loads(run([plain.python, "-m", "pip", "list", "--format=json"], cwd=tmp_path))
    names = {item["name"].lower().replace("-", "_") for item in listed}
    wanted = {"hebb_controller", "numpy", "safetensors", "pyyaml", "click"}
    assert wanted <= names
    assert names <= wanted | {"pip", "setuptools"}


@pytest.mark.parametrize("package", ["hebb_controller", "hebb_sim"])
def test_importing_loads_nothing_heavy(package, tmp_path, run):
    """Run where the extras are installed: the import has the choice."""
    source = f"import sys, {package}; print(*set({HEAVY!r}) & sys.modules.keys())"
    assert run([sys.executable, "-c", source], cwd=tmp_path).strip() == ""


def test_importing_takes_at_most_twice_as_long_as_numpy(plain, tmp_path):
    """Take turns, so that a busy machine slows both, and compare medians of new processes."""
    timed = (
        "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"
    )
    seconds: dict[str, list[float]] = {"numpy": [], "hebb_controller": []}
    for _ in range(11):
        for package, times in seconds.items():
            times.append(float(plain.execute(timed.format(package), cwd=tmp_path)))
    median = {package: statistics.median(times) for package, times in seconds.items()}
    assert median["hebb_controller"] <= 2 * median["numpy"], median


def test_the_version_is_the_same_everywhere(plain, tmp_path):
    source = (
        "import importlib.metadata as m, hebb_controller as h;"
        "print(m.version('hebb_controller'), h.__version__)"
    )
    installed, declared = plain.execute(source, cwd=tmp_path).split()
    assert installed == declared
    assert f"<version>{declared}</version>" in (ROOT / "package.xml").read_text(encoding="utf-8")


def test_the_command_line_works_without_extras(plain, tmp_path, run):
    assert "Usage" in run([plain.prefix / "bin" / "hebb", "--help"], cwd=tmp_path)


def test_the_shipped_rule_can_be_inspected_from_anywhere(plain, tmp_path, run):
    rule = plain.prefix / "share" / "hebb_controller" / "rules" / RULE
    assert run([plain.prefix / "bin" / "hebb", "inspect", rule], cwd=tmp_path).strip()


@pytest.mark.parametrize("kind", ["plain", "editable"])
def test_shipped_files_are_found(kind, request, tmp_path):
    environment = request.getfixturevalue(kind)
    source = (
        "from hebb_controller.share import shipped;"
        f"print(shipped('config', 'robots', 'a1.yaml'), shipped('rules', {RULE!r}))"
    )
    paths = [Path(word) for word in environment.execute(source, cwd=tmp_path).split()]
    assert [path.name for path in paths] == ["a1.yaml", RULE]
    assert all(path.is_file() and not path.is_relative_to(ROOT) for path in paths)


@pytest.mark.parametrize("kind", ["plain", "editable"])
def test_the_simulator_is_importable_without_pybullet(kind, request, tmp_path):
    environment = request.getfixturevalue(kind)
    found = environment.execute("import hebb_sim; print(hebb_sim.__file__)", cwd=tmp_path)
    assert not Path(found).is_relative_to(ROOT)


def test_the_wheel_holds_every_module_and_no_tests(copy_sources, tmp_path, run):
    """Build as a release is built, the wheel from the source distribution: both are complete."""
    sources = copy_sources()
    # The environment's own setuptools builds it: fetching another is tried by the other tests.
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", tmp_path, sources]
    run(build, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    data = {name.split(".data/data/")[1] for name in names if ".data/data/" in name}
    code = {name for name in names if ".data/" not in name}

    modules = {f"hebb_sim/{p.relative_to(ROOT / 'sim')}" for p in (ROOT / "sim").rglob("*.py")}
    modules |= {str(p.relative_to(ROOT)) for p in (ROOT / "hebb_controller").rglob("*.py")}
    assert code == modules | {"hebb_controller/py.typed"}

    kinds = {"launch": "*.launch.py", "config": "*.*", "rules": "*.rule.safetensors"}
    shipped = {p for top, kind in kinds.items() for p in (ROOT / top).rglob(kind)}
    share = {f"share/hebb_controller/{path.relative_to(ROOT)}" for path in shipped}
    index = "share/ament_index/resource_index/packages/hebb_controller"
    assert data == share | {index, "share/hebb_controller/package.xml"}
