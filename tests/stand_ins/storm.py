"""Set parameters of the controller as fast as it answers, from three sides, good ones and bad, until SIGINT."""

import itertools
import os
import threading
from contextlib import suppress

from hebb_controller.node.operator_client import NodeTimeoutError, Operator
from hebb_controller.stop_signals import stop_event

CONTROLLER = "/controller_node"
ASKED = (
    ("plasticity_gain", 1.0),
    ("plasticity_gain", -1.0),
    ("swap_weights", "carry"),
    ("swap_weights", "stale"),
    ("robot", "a2"),
    ("rule_file", "/nowhere"),
    ("no_such_parameter", 1),
    ("sensor_timeout", "soon"),
)


def blow(number, stopping, answered):
    with Operator(name=f"storm_{number}") as operator:
        for name, value in itertools.cycle(ASKED):
            if stopping.is_set():
                return
            with suppress(NodeTimeoutError):
                operator.set_parameter(CONTROLLER, name, value, timeout=5.0)
                answered.append(name)


if __name__ == "__main__":
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))  # whatever the test runs under
    stopping, answered = stop_event(), []
    threads = [threading.Thread(target=blow, args=(i, stopping, answered)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(f"{len(answered)} answers")
