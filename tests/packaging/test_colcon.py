"""What `colcon build` makes of the package, copied and symlinked."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(300)

ROOT = Path(__file__).resolve().parents[2]
COLCON = Path(sys.executable).with_name("colcon")
EXECUTABLES = ("hebb", "controller_node", "recorder_node", "sim_node")


@dataclass(frozen=True)
class Workspace:
    """A colcon workspace with this package alone in it, built."""

    top: Path
    run: Callable[..., str]

    @property
    def prefix(self) -> Path:
        return self.top / "install" / "hebb_controller"

    def execute(self, command: str) -> str:
        """Return what a shell command prints with the workspace sourced, from another directory."""
        sourced = f". {self.top}/install/setup.sh && {command}"
        return self.run(["sh", "-c", sourced], cwd=self.top.parent)

    def python(self, source: str) -> str:
        """Return what a piece of Python prints with the workspace sourced, stripped."""
        return self.execute(f'{sys.executable} -c "{source}"').strip()


@pytest.fixture(scope="module", params=["copied", "symlinked"])
def workspace(request, tmp_path_factory, copy_sources, run):
    top = tmp_path_factory.mktemp(request.param) / "workspace"
    (top / "src").mkdir(parents=True)
    copy_sources().rename(top / "src" / "hebb_controller")
    symlink = ["--symlink-install"] if request.param == "symlinked" else []
    run([COLCON, "build", "--event-handlers", "console_direct+", *symlink], cwd=top)
    return Workspace(top, run)


def test_colcon_sees_an_ament_python_package(tmp_path, run):
    """A manifest that colcon does not accept demotes the package to a plain Python one, silently."""
    listed = run([COLCON, "--log-base", tmp_path, "list", "--base-paths", ROOT], cwd=tmp_path)
    assert [line.split("\t")[0::2] for line in listed.splitlines()] == [
        ["hebb_controller", "(ros.ament_python)"]
    ]


def test_the_executables_are_where_ros_looks(workspace):
    directory = workspace.prefix / "lib" / "hebb_controller"
    assert {path.name for path in directory.iterdir()} == set(EXECUTABLES)
    assert all(os.access(directory / name, os.X_OK) for name in EXECUTABLES)


def test_the_command_line_runs_from_the_workspace(workspace):
    assert "Usage" in workspace.execute(f"{workspace.prefix}/lib/hebb_controller/hebb --help")


@pytest.mark.parametrize("package", ["hebb_controller", "hebb_sim"])
def test_both_packages_are_importable(workspace, package):
    found = workspace.python(f"import {package}; print({package}.__file__)")
    assert Path(found).is_relative_to(workspace.top)


def test_the_share_directory_is_complete(workspace):
    share = workspace.prefix / "share"
    kinds = {"launch": "*.launch.py", "config": "*.yaml", "rules": "*.rule.safetensors"}
    for top, kind in kinds.items():
        for path in (ROOT / top).rglob(kind):
            installed = share / "hebb_controller" / path.relative_to(ROOT)
            assert installed.read_bytes() == path.read_bytes()
    assert (share / "hebb_controller" / "package.xml").is_file()
    assert (share / "ament_index/resource_index/packages/hebb_controller").is_file()


def test_the_package_finds_its_shipped_files(workspace):
    source = "from hebb_controller.share import shipped; print(shipped('config/robots/a1.yaml'))"
    found = Path(workspace.python(source))
    assert found.is_file()
    assert found.is_relative_to(workspace.top)
