"""What is heavy or optional is loaded when it is used. Who may import what: pyproject.toml."""

import subprocess
import sys

# What a robot, the command line or a worker process loads.
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
OPTIONAL = {
    "PIL",
    "cryptography",
    "google.protobuf",
    "matplotlib",
    "mcap",
    "numba",
    "onnx",
    "onnxruntime",
    "pybullet",
    "pytest",
    "ray",
    "rclpy",
    "scipy",
    "torch",
    "tqdm",
}
LOAD = """
import importlib, sys
before = {*sys.modules}
for module in sys.argv[1:]:
    importlib.import_module(module)
    print(module, *({*sys.modules} - before))
"""


def test_what_robots_and_workers_load_is_light():
    loading = subprocess.run(
        [sys.executable, "-c", LOAD, *LIGHT], capture_output=True, text=True, check=True
    )
    loaded = dict(line.split(maxsplit=1) for line in loading.stdout.splitlines())
    assert tuple(loaded) == LIGHT
    for light in LIGHT:
        names = loaded[light].split()
        assert "numpy" in names
        assert not OPTIONAL.intersection(names), light
