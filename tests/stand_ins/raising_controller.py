"""The controller node with a network that raises, as long as the file named by RAISE_WHILE exists."""

import os
import sys
from pathlib import Path

from hebb_controller.node import controller_node
from hebb_controller.runtime.numpy_runtime import NumpyRuntime

FILE = Path(os.environ["RAISE_WHILE"])
step = NumpyRuntime.step


def raising_step(self, observation):
    if FILE.exists():
        raise ZeroDivisionError("planted")
    return step(self, observation)


if __name__ == "__main__":
    NumpyRuntime.step = raising_step
    sys.exit(controller_node.run())
