"""The controller node with one fault built in, that the environment names: how a test makes errors."""

import os
import time

from hebb_controller.node import controller_node
from hebb_controller.node.drive import Drive
from hebb_controller.node.loop import ControlLoop
from hebb_controller.node.sensor_thread import SensorThread

FAULT = "HEBB_TEST_FAULT"


def fail(*_, **__):
    raise ZeroDivisionError("a fault")


def once(kind, name, act):
    """Have a method do something else the first time that it is called."""
    method = getattr(kind, name)

    def call(self, *args, **rest):
        setattr(kind, name, method)
        act()
        return method(self, *args, **rest)

    setattr(kind, name, call)


FAULTS = {
    "configure": lambda: once(Drive, "__init__", fail),
    "sensors": lambda: once(SensorThread, "__init__", fail),
    "activate": lambda: once(ControlLoop, "start", fail),
    "deactivate": lambda: once(ControlLoop, "stop", fail),
    "hang": lambda: once(ControlLoop, "stop", lambda: time.sleep(2.0)),
    "cleanup": lambda: once(SensorThread, "close", fail),
    "stop": lambda: setattr(ControlLoop, "stop", fail),
    "everything": lambda: (setattr(Drive, "leave", fail), setattr(Drive, "close", fail)),
}

if __name__ == "__main__":
    FAULTS[os.environ[FAULT]]()
    controller_node.main()
