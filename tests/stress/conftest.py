"""What the stress tests share: how long they are, a rig of their own, and where their findings go."""

import json
import os
import sys
from pathlib import Path

import pytest

from hebb_controller.node.processes import own_domain, ros_environment

os.environ.update(ros_environment(own_domain()))

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from rig import find_stand_ins, rigs  # noqa: E402 - finds its domain in the environment

from hebb_controller.robot import load_robot  # noqa: E402

RESULTS = HERE.parents[1] / "build" / "stress"
find_stand_ins()


@pytest.fixture(scope="session")
def scale():
    """Return the part of the full length that is run, from STRESS in the environment."""
    return float(os.getenv("STRESS", "1"))


@pytest.fixture(scope="session")
def robot():
    return load_robot("a1")


@pytest.fixture(scope="session")
def walk():
    """Return the path of the shipped walk."""
    return HERE.parents[1] / "rules" / "a1_walk.rule.safetensors"


@pytest.fixture(scope="module")
def start(request, tmp_path_factory, walk):
    """Return the function that starts a rig, of the modules that a test file names."""
    modules = {
        name: getattr(request.module, name.upper())
        for name in ("simulator", "controller")
        if hasattr(request.module, name.upper())
    }
    with rigs(lambda: tmp_path_factory.mktemp("rig"), walk, **modules) as started:
        yield started


@pytest.fixture(scope="session")
def keep():
    """Return the function that writes and prints what was found, as JSON and, if given, Markdown."""

    def write(name, found, markdown=""):
        RESULTS.mkdir(parents=True, exist_ok=True)
        found = {"load": [round(x, 2) for x in os.getloadavg()], **found}
        (RESULTS / f"{name}.json").write_text(json.dumps(found, indent=2) + "\n")
        if markdown:
            (RESULTS / f"{name}.md").write_text(markdown)
        print(f"\n{name}: {json.dumps(found)}\n{markdown}")

    return write
