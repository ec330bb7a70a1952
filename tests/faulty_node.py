"""The controller node with one fault, named by the environment, built in for tests of errors."""

import itertools
import math
import os
import threading
import time

from hebb_controller.errors import HebbError
from hebb_controller.node import controller_node, snapshot_file
from hebb_controller.node.controller_node import ControllerNode
from hebb_controller.node.drive import Drive
from hebb_controller.node.loop import ControlLoop
from hebb_controller.node.output import CommandOutput
from hebb_controller.node.sensor_thread import SensorThread
from hebb_controller.node.values import Phase

FAULT = "HEBB_TEST_FAULT"


def fail(*_, **__):
    raise ZeroDivisionError("a fault")


def once(kind, name, act):
    """Make a method call ``act`` first, the first time it is called."""
    method = getattr(kind, name)

    def call(self, *args, **rest):
        setattr(kind, name, method)
        act()
        return method(self, *args, **rest)

    setattr(kind, name, call)


def before(kind, name, act):
    """Make a method call ``act`` first, every time it is called."""
    method = getattr(kind, name)

    def call(self, *args, **rest):
        act(self)
        return method(self, *args, **rest)

    setattr(kind, name, call)


def hold_up(drive):
    """Keep the control thread busy for longer than anything waits for it."""
    drive._thread.post(lambda _: time.sleep(0.8))


def hang_in_the_next_tick(drive):
    """Make the control thread return its command after the node has damped without it."""
    tick = ControlLoop.tick

    def hang(self, *args):
        ControlLoop.tick = tick
        command = tick(self, *args)
        time.sleep(1.3)
        return command

    ControlLoop.tick = hang
    time.sleep(0.1)
    once(CommandOutput, "close", lambda: time.sleep(1.0))


def hang_in_a_publish():
    """Make the middleware block the publishing thread from the 100th command on."""
    count = itertools.count()
    before(CommandOutput, "send", lambda _: next(count) < 100 or threading.Event().wait())


def publish_the_run_after_its_end():
    """Make a status of the run, published beside the control thread, follow that of what ends it.

    The status of every second, which would hide it, stays away from then on.
    """
    publish = ControllerNode._publish_status

    def late(self, status):
        beside = threading.current_thread().name != "control"
        if beside and status is not None and status.phase is Phase.RUN:
            self.get_logger().info("a status of the run is on its way")
            while self._drive_status() is status:
                time.sleep(0.01)
            time.sleep(0.3)  # the control thread publishes its own
            ControllerNode._review = lambda self: None
        publish(self, status)

    ControllerNode._publish_status = late


def keep_quiet_after_a_rollback():
    """Make the control thread not say, for three seconds after a rollback, what was asked for."""
    asked, begin = Drive.asked, [-math.inf]

    def refuse(self):
        if time.monotonic() - begin[0] < 3.0:
            print("not saying what was asked for", flush=True)
            raise HebbError("busy")
        return asked(self)

    Drive.asked = refuse
    before(Drive, "roll_back", lambda _: begin.__setitem__(0, time.monotonic()))


FAULTS = {
    "configure": lambda: once(Drive, "__init__", fail),
    "sensors": lambda: once(SensorThread, "__init__", fail),
    "activate": lambda: once(ControlLoop, "start", fail),
    "deactivate": lambda: once(ControlLoop, "stop", fail),
    "hang": lambda: once(ControlLoop, "stop", lambda: time.sleep(2.0)),
    "hang in a tick": lambda: before(Drive, "leave", hang_in_the_next_tick),
    "hang in a publish": hang_in_a_publish,
    "late": lambda: [before(Drive, name, hold_up) for name in ("estop", "stage")],
    "late status": publish_the_run_after_its_end,
    "late answer": keep_quiet_after_a_rollback,
    "slow disk": lambda: before(snapshot_file, "save_snapshot", lambda _: time.sleep(3.0)),
    "cleanup": lambda: once(SensorThread, "close", fail),
    "stop": lambda: setattr(ControlLoop, "stop", fail),
    "everything": lambda: (setattr(Drive, "leave", fail), setattr(Drive, "close", fail)),
}

if __name__ == "__main__":
    FAULTS[os.environ[FAULT]]()
    controller_node.main()
