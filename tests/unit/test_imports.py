"""What is heavy or optional is loaded when it is used. Who may import what: pyproject.toml."""

import subprocess
import sys

# What a robot, the command line or a worker process loads, and what it may load besides Python's own.
LIGHT = (
    "hebb_controller.runtime",
    "hebb_controller.controller",
    "hebb_controller.train.executor",
    "hebb_controller.train.genome",
    "hebb_controller.train.metrics",
    "hebb_controller.train.suite",
    "hebb_controller.cli",
    "hebb_sim",
)
NEEDED = {"hebb_controller", "hebb_sim", "numpy", "safetensors", "yaml", "click"}
LOAD = """
import importlib, sys
before = {*sys.modules}
for module in sys.argv[1:]:
    importlib.import_module(module)
    new = {*sys.modules} - before
    print(module, *(name for name in new if getattr(sys.modules[name], "__file__", None)))
"""


def test_what_robots_and_workers_load_needs_no_extra():
    loading = subprocess.run(
        [sys.executable, "-c", LOAD, *LIGHT], capture_output=True, text=True, check=True
    )
    loaded = dict(line.split(maxsplit=1) for line in loading.stdout.splitlines())
    assert tuple(loaded) == LIGHT
    for light in LIGHT:
        packages = {name.partition(".")[0] for name in loaded[light].split()}
        assert "numpy" in packages
        assert packages <= NEEDED | sys.stdlib_module_names, light
