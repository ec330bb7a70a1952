"""The launch files, where launch_ros is installed; elsewhere the nodes are started as it would."""

import importlib.util
from pathlib import Path

import pytest

pytest.importorskip("launch_ros")

LAUNCH = Path(__file__).resolve().parents[2] / "launch"


@pytest.mark.parametrize("name", ["sim", "controller"])
def test_every_argument_is_described_and_has_a_default(name):
    spec = importlib.util.spec_from_file_location(name, LAUNCH / f"{name}.launch.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    arguments = module.generate_launch_description().get_launch_arguments()
    assert {"robot", "rule_file", "seed", "record"} <= {argument.name for argument in arguments}
    for argument in arguments:
        assert argument.description
        assert argument.default_value is not None
