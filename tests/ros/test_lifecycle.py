"""Every transition and service from every state, errors inside transitions, and ends from everywhere."""

import signal
import threading
import time

import pytest
from rig import CONTROL, PATIENCE, SIM, is_damp, values

from hebb_controller.node.operator_client import NodeTimeoutError

TRANSITIONS = ("configure", "activate", "deactivate", "cleanup", "shutdown")
LEADS_TO = {
    "unconfigured": {"configure": "inactive", "shutdown": "finalized"},
    "inactive": {"activate": "active", "cleanup": "unconfigured", "shutdown": "finalized"},
    "active": {"deactivate": "inactive", "shutdown": "finalized"},
    "finalized": {},
}
WAY = {"unconfigured": (), "inactive": ("configure",), "active": ("configure", "activate")}
"""State -> the transitions that lead there from a node that has just started."""

NOT_CONFIGURED = "the node is not configured"
FILE = "snapshot_file"
ANSWERS = {  # service -> state -> what stands in the reason why nothing was done; "" for done
    "estop": ("nothing to stop: not active", ""),
    "reset_estop": ("nothing to reset: the controller is in INACTIVE", "controller is in RUN"),
    "rollback": ("nothing to roll back to", "nothing to roll back to"),
    "snapshot": (FILE, FILE),
    "restore": (FILE, FILE),
    "reset_weights": ("", ""),
    "freeze": ("", ""),
}


def go(made, *transitions):
    for transition in transitions:
        assert made.operator.change_state(CONTROL, transition, timeout=PATIENCE), made.logs()


def reach(made, state):
    """Bring a node that has just started into a state; an active one runs."""
    assert made.operator.state(CONTROL, timeout=PATIENCE) == "unconfigured"  # it is up
    go(made, *WAY.get(state, ("shutdown",)))
    if state == "active":
        made.set(SIM, "paused", False)
        made.running()


def wait_until_it_tells(made, lifecycle, *, since=0):
    """Wait for diagnostics of a state; those of the one before may still be on their way."""
    made.diagnostics.wait(
        lambda m: (
            "controller_node" in m.status[0].name and values(m.status[0])["lifecycle"] == lifecycle
        ),
        since=since,
    )


def is_in(made, state):
    """Say that the node is in a state, by its service and by its next diagnostics."""
    since = len(made.diagnostics.items)
    assert made.operator.state(CONTROL) == state
    wait_until_it_tells(made, state, since=since)


def quiet(made):
    """Return whether no command comes in a time in which a controller that drives sends fifteen."""
    count = len(made.commands.items)
    time.sleep(0.3)
    return len(made.commands.items) == count


@pytest.mark.parametrize("state", LEADS_TO)
def test_from_each_state_the_transitions_that_there_are_lead_on_and_the_others_change_nothing(
    rig, state
):
    made = rig(patient=True)
    reach(made, state)
    for transition in TRANSITIONS:
        if transition not in LEADS_TO[state]:
            assert not made.operator.change_state(CONTROL, transition)
            assert made.operator.state(CONTROL) == state
    is_in(made, state)
    if state == "active":
        made.commands.wait_for(5)
        assert made.status["phase"] == "RUN", made.status
    else:
        assert quiet(made)
    for transition, ends_in in LEADS_TO[state].items():
        go(made, transition)
        is_in(made, ends_in)
        if ends_in != "active":
            assert quiet(made)
            assert state != "active" or is_damp(made.commands.items[-1][1])
        back = {"active": "deactivate", "unconfigured": "configure"}.get(ends_in)
        back = {"inactive": "activate" if state == "active" else "cleanup"}.get(ends_in, back)
        if back is not None:
            go(made, back)
            assert made.operator.state(CONTROL) == state
    assert "Traceback" not in made.controller.output()


@pytest.mark.parametrize("state", LEADS_TO)
def test_each_service_answers_in_each_state(rig, state):
    made = rig(patient=True)
    reach(made, state)
    column = {"inactive": 0, "active": 1}.get(state)
    # estop comes last: what is asked of a robot that runs has been asked by then
    for service, answers in reversed(ANSWERS.items()):
        name = f"{CONTROL}/{service}"
        ask = made.operator.switch if service == "freeze" else made.operator.trigger
        reason = ask(name, on=True) if service == "freeze" else ask(name)
        expected = NOT_CONFIGURED if column is None else answers[column]
        assert expected in reason, service
        assert bool(expected) is bool(reason), (service, reason)
    if state == "active":
        made.wait_for_phase("DAMPED")
        go(made, "deactivate", "activate")  # damped or not
        made.wait_for_phase("RUN", since=len(made.statuses.items) - 1)
    if state == "finalized":
        reason = made.operator.set_parameter(CONTROL, "robot", "a1")
        assert "Restart the node" in reason


@pytest.mark.parametrize(
    ("fault", "before", "transition", "reason"),
    [
        ("configure", "unconfigured", "configure", "ZeroDivisionError: a fault"),
        ("sensors", "unconfigured", "configure", "ZeroDivisionError: a fault"),
        ("activate", "inactive", "activate", "ZeroDivisionError: a fault"),
        ("deactivate", "active", "deactivate", "ZeroDivisionError: a fault"),
        ("stop", "active", "deactivate", "ZeroDivisionError: a fault"),
        ("hang", "active", "deactivate", "the control thread did not answer within 0.5 s"),
        ("stop", "active", "shutdown", "damping without it"),
        ("cleanup", "inactive", "cleanup", "ZeroDivisionError: a fault"),
    ],
)
def test_an_error_inside_a_transition_is_logged_and_damps_and_the_node_can_be_used_again(
    faulty, fault, before, transition, reason
):
    made = faulty(fault)
    reach(made, before)
    done = made.operator.change_state(CONTROL, transition)
    assert done is (transition == "shutdown")
    ended = "finalized" if transition == "shutdown" else "unconfigured"
    is_in(made, ended)
    said = made.controller.output()
    assert reason in said
    assert ("Traceback" in said) is ("ZeroDivision" in reason or fault in ("hang", "stop"))
    if before == "active":
        assert is_damp(made.commands.items[-1][1])
    else:
        assert not made.commands.items
    time.sleep(2.5 if fault == "hang" else 0.0)  # the thread that hung has come back by then
    assert quiet(made)
    if ended == "unconfigured":
        since = len(made.statuses.items)
        go(made, "configure", "activate")
        made.set(SIM, "paused", False)
        made.running(since=since)


def test_an_error_in_the_processing_of_an_error_finalizes(faulty):
    made = faulty("everything")
    reach(made, "active")
    assert not made.operator.change_state(CONTROL, "deactivate")
    is_in(made, "finalized")
    assert made.controller.output().count("ZeroDivisionError: a fault") >= 2


def test_an_estop_while_it_is_being_activated_keeps_it_from_starting(rig):
    made = rig(patient=True)
    made.simulator.end()  # so that activation waits for readings
    go(made, "configure")
    nothing = made.operator.trigger(f"{CONTROL}/estop")  # its client has found the node from now on
    assert "not active" in nothing
    results = []
    activating = threading.Thread(
        target=lambda: results.append(
            made.operator.change_state(CONTROL, "activate", timeout=PATIENCE)
        )
    )
    since = len(made.diagnostics.items)  # the configuring may have been told of, too
    activating.start()
    wait_until_it_tells(made, "in transition", since=since)
    assert made.operator.trigger(f"{CONTROL}/estop") == ""
    activating.join()
    assert results == [False]
    assert made.operator.state(CONTROL) == "inactive"
    assert "not started: ~/estop was called" in made.controller.output()
    assert not made.commands.items
    assert "not active" in made.operator.trigger(f"{CONTROL}/estop")


def begin(made, transition):
    """Begin a transition and do not wait for its end."""

    def change():
        try:
            made.operator.change_state(CONTROL, transition, timeout=3.0)
        except NodeTimeoutError:
            return

    thread = threading.Thread(target=change)
    thread.start()
    return thread


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize(
    "state", ["unconfigured", "configuring", "inactive", "activating", "moving", "finalized"]
)
def test_whatever_the_state_a_signal_ends_the_process_and_the_robot_is_safe(rig, state, number):
    made = rig(patient=True)
    changing = None
    assert made.operator.state(CONTROL, timeout=PATIENCE) == "unconfigured"  # it is up
    if state in ("configuring", "moving", "activating"):
        if state == "activating":
            made.simulator.end()
        if state != "configuring":
            go(made, "configure")
        if state == "moving":
            made.set(SIM, "paused", False)
            go(made, "activate")
            made.commands.wait_for(1)
        else:
            since = len(made.diagnostics.items)
            changing = begin(made, "configure" if state == "configuring" else "activate")
            if state == "activating":
                wait_until_it_tells(made, "in transition", since=since)
            else:
                time.sleep(0.1)
    else:
        reach(made, state)
    sent = time.monotonic()
    made.controller.send_signal(number)
    killed = number == signal.SIGKILL
    assert made.controller.wait(5.0) == (-number if killed else 0), made.logs()
    if state != "configuring":
        assert time.monotonic() - sent <= 1.0
    assert "Traceback" not in made.controller.output()
    if state == "moving" and not killed:
        made.commands.wait(is_damp)
        assert is_damp(made.commands.items[-1][1])
    elif state != "moving":
        assert not made.commands.items
    if changing is not None:
        changing.join()
