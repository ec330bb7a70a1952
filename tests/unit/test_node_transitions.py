"""What a transition callback leads to, whatever happens in it, and that it is said."""

import pytest

pytest.importorskip("rclpy")

from rclpy.lifecycle import TransitionCallbackReturn as Result

from hebb_controller.errors import ParameterError
from hebb_controller.node.control_thread import ControlThreadError
from hebb_controller.node.transitions import transition


class Node:
    """A node that keeps what it says."""

    def __init__(self, published=None):
        self.lifecycle = "before"
        self.errors, self.published = [], []
        self._error = published

    def get_logger(self):
        return self

    def error(self, text):
        self.errors.append(text)

    def publish_diagnostics(self):
        self.published.append(self.lifecycle)
        if self._error is not None:
            raise self._error


def run(node, error=None, **options):
    @transition("after", **options)
    def callback(node, state):
        assert node.lifecycle == "in transition"
        if error is not None:
            raise error
        return Result.SUCCESS

    return callback(node, None)


@pytest.mark.parametrize(
    ("error", "options", "result", "state"),
    [
        (None, {}, Result.SUCCESS, "after"),
        (ParameterError("no"), {"may_fail": True}, Result.FAILURE, "before"),
        (ParameterError("no"), {}, Result.ERROR, "before"),
        (ControlThreadError("no"), {"may_fail": True}, Result.ERROR, "before"),
        (ZeroDivisionError("no"), {"may_fail": True}, Result.ERROR, "before"),
        (ZeroDivisionError("no"), {"fails_in": "finalized"}, Result.ERROR, "finalized"),
    ],
)
def test_only_what_may_be_refused_is_a_failure_and_every_reason_is_said_once(
    error, options, result, state
):
    node = Node()
    assert run(node, error, **options) == result
    assert node.lifecycle == state
    assert node.published == [state]
    assert len(node.errors) == (error is not None)
    if error is not None:
        expected = isinstance(error, ZeroDivisionError)
        assert ("Traceback" in node.errors[0]) is expected
        assert "no" in node.errors[0]


def test_a_transition_that_cannot_be_told_of_was_made_all_the_same():
    node = Node(published=OSError("no network"))
    assert run(node) == Result.SUCCESS
    assert node.lifecycle == "after"
    assert "no network" in node.errors[0]
