"""What the packaging tests share: a copy of the sources, and environments that know nothing of ours."""

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# All that building needs, and tests/, which must be left out of what is built.
SOURCES = (
    *("hebb_controller", "sim", "launch", "config", "rules", "resource", "tests", "ci", "docs"),
    *("package.xml", "setup.py", "setup.cfg", "pyproject.toml", "MANIFEST.in"),
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile"),
)

# What the environment that runs the tests would otherwise lend to the one under test.
LENT = (
    "AMENT_PREFIX_PATH",
    "CMAKE_PREFIX_PATH",
    "COLCON_PREFIX_PATH",
    "PYTHONHOME",
    "PYTHONPATH",
    "VIRTUAL_ENV",
    "_ROS_WHEELS_BOOTSTRAP_COMPLETE",
)


def clean_environment() -> dict[str, str]:
    """Return this process's environment without what belongs to its own Python environment."""
    environment = {name: value for name, value in os.environ.items() if name not in LENT}
    libraries = environment.pop("LD_LIBRARY_PATH", "").split(os.pathsep)
    others = [path for path in libraries if path and not path.startswith(sys.prefix)]
    if others:
        environment["LD_LIBRARY_PATH"] = os.pathsep.join(others)
    return environment | {"PYTHONNOUSERSITE": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def run_command(command: Sequence[str | Path], *, cwd: Path, timeout: float = 240) -> str:
    """Return what a command prints; fail the test, showing everything, if it fails."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}"
    return done.stdout


@dataclass(frozen=True)
class Environment:
    """A virtual environment."""

    prefix: Path

    @property
    def python(self) -> Path:
        return self.prefix / "bin" / "python"

    def execute(self, source: str, *, cwd: Path) -> str:
        """Return what a piece of Python prints, stripped."""
        return run_command([self.python, "-c", source], cwd=cwd).strip()


@pytest.fixture(scope="session")
def run() -> Callable[..., str]:
    """Return the function that runs a command: ``run([program, argument, ...], cwd=directory)``."""
    return run_command


@pytest.fixture(scope="session")
def copy_sources(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Return a function that copies the sources to a new place: building writes beside them."""

    def copy() -> Path:
        target = tmp_path_factory.mktemp("sources") / "hebb_controller"
        target.mkdir()
        leave = shutil.ignore_patterns("__pycache__", "*.egg-info")
        for name in SOURCES:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, target / name, ignore=leave)
            elif source.is_file():
                shutil.copy2(source, target / name)
        return target

    return copy


def _install(prefix: Path, *arguments: str | Path, cwd: Path) -> Environment:
    venv.create(prefix, with_pip=True, symlinks=True)
    environment = Environment(prefix)
    run_command([environment.python, "-m", "pip", "install", "-qq", *arguments], cwd=cwd)
    return environment


@pytest.fixture(scope="session")
def plain(
    tmp_path_factory: pytest.TempPathFactory, copy_sources: Callable[[], Path]
) -> Environment:
    """Return an environment after `pip install .`, its sources gone."""
    sources = copy_sources()
    environment = _install(tmp_path_factory.mktemp("plain") / "venv", ".", cwd=sources)
    shutil.rmtree(sources)
    return environment


@pytest.fixture(scope="session")
def editable(
    tmp_path_factory: pytest.TempPathFactory, copy_sources: Callable[[], Path]
) -> Environment:
    """Return an environment after `pip install -e .`."""
    sources = copy_sources()
    prefix = tmp_path_factory.mktemp("editable") / "venv"
    return _install(prefix, "--editable", sources, cwd=prefix.parent)
