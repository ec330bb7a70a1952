"""What is asked of a node whose control thread, or whose disk, keeps it waiting."""

import signal
import threading
import time

from diagnostic_msgs.msg import DiagnosticStatus
from rig import CONTROL, PATIENCE, SIM, is_damp, values

LATE = "the control thread does not answer"


def driving(made):
    assert made.operator.change_state(CONTROL, "configure", timeout=PATIENCE), made.logs()
    assert made.operator.change_state(CONTROL, "activate"), made.logs()
    made.set(SIM, "paused", False)
    return made.running()


def until(what):
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_an_estop_does_not_wait_for_a_snapshot_on_a_slow_disk(faulty, tmp_path):
    made = driving(faulty("slow disk"))
    made.commands.wait_for(5)  # the network has run, so there is something to keep
    made.set(CONTROL, "snapshot_file", str(tmp_path / "now.snapshot.safetensors"))
    said = []
    keeping = threading.Thread(
        target=lambda: said.append(made.operator.trigger(f"{CONTROL}/snapshot", timeout=10.0))
    )
    keeping.start()
    time.sleep(0.5)
    assert made.operator.trigger(f"{CONTROL}/estop") == ""
    made.wait_for_phase("DAMPED")
    assert not said
    keeping.join()
    assert said == [""]


def test_an_estop_that_the_control_thread_does_not_answer_damps_at_once_and_for_good(faulty):
    made = driving(faulty("late"))
    assert LATE in made.operator.trigger(f"{CONTROL}/estop")
    made.commands.wait(is_damp)
    made.wait_for_phase("DAMPED")
    assert made.status["reason"].startswith("~/estop was called")
    first = next(i for i, (_, m) in enumerate(made.commands.items) if is_damp(m))
    made.commands.wait_for(20)
    assert all(is_damp(m) for _, m in made.commands.items[first:])


def test_an_estop_that_is_answered_late_during_activation_keeps_the_node_from_starting(faulty):
    made = faulty("late")
    made.simulator.end()  # so that activation waits for readings
    assert made.operator.change_state(CONTROL, "configure", timeout=PATIENCE)
    results = []
    activating = threading.Thread(
        target=lambda: results.append(
            made.operator.change_state(CONTROL, "activate", timeout=PATIENCE)
        )
    )
    since = len(made.diagnostics.items)
    activating.start()
    made.diagnostics.wait(
        lambda m: values(m.status[0]).get("lifecycle") == "in transition", since=since
    )
    assert LATE in made.operator.trigger(f"{CONTROL}/estop")
    activating.join()
    assert results == [False]
    assert "not started: ~/estop was called" in made.controller.output()
    assert not made.commands.items


def test_a_swap_that_the_control_thread_does_not_take_is_taken_back_and_the_node_lives(
    faulty, rules
):
    made = driving(faulty("late"))
    before = made.operator.get_parameter(CONTROL, "rule_file")
    made.set(CONTROL, "rule_file", str(rules / "two.rule.safetensors"))
    until(lambda: made.operator.get_parameter(CONTROL, "rule_file") == before)
    assert made.status["swap"] == "0"
    assert "not swapped: the control thread did not answer" in made.controller.output()
    assert made.controller.exit_code is None


def test_the_rule_that_a_rollback_left_is_told_although_the_control_thread_was_busy(faulty, rules):
    made = driving(faulty("late answer"))
    before = made.operator.get_parameter(CONTROL, "rule_file")
    since = len(made.statuses.items)
    made.set(CONTROL, "rule_file", str(rules / "two.rule.safetensors"))
    made.statuses.wait(lambda s: values(s)["swap"] == "1", since=since)
    assert made.operator.trigger(f"{CONTROL}/rollback") == ""
    until(lambda: made.operator.get_parameter(CONTROL, "rule_file") == before)
    assert "not saying what was asked for" in made.controller.output()


def test_the_latched_status_is_the_last_even_if_an_older_one_is_published_after_it(faulty):
    made = driving(faulty("late status"))
    until(lambda: "a status of the run is on its way" in made.controller.output())
    since = len(made.statuses.items)
    assert made.operator.trigger(f"{CONTROL}/estop") == ""
    made.statuses.wait_for_all(since + 3)
    phases = [values(status)["phase"] for _, status in made.statuses.items[since:]]
    assert phases == ["DAMPED", "RUN", "DAMPED"]


def test_a_tick_that_comes_back_after_the_node_has_damped_without_it_says_nothing(faulty):
    """In lock-step, where a tick may take its time; the topic stays open for a second more."""
    made = driving(faulty("hang in a tick", patient=False, lock_step=True))
    assert not made.operator.change_state(CONTROL, "deactivate", timeout=10.0)
    assert "damping without it" in made.controller.output()
    assert is_damp(made.commands.items[-1][1])
    time.sleep(1.0)
    assert is_damp(made.commands.items[-1][1])


def test_a_middleware_that_keeps_the_control_thread_is_told_and_keeps_nobody_else(faulty):
    made = driving(faulty("hang in a publish"))

    def told(message):
        return any(
            status.level == DiagnosticStatus.ERROR
            and "the control thread has stood still for" in status.message
            for status in message.status
            if status.name.endswith("Control Loop")
        )

    made.diagnostics.wait(told)
    assert "cannot send a command" in made.operator.trigger(f"{CONTROL}/estop")
    made.controller.send_signal(signal.SIGTERM)
    assert made.controller.wait(PATIENCE) == 0, made.logs()
    assert "cannot send a command" in made.controller.output()
