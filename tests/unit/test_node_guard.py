"""What the guard alone can see: sensors that froze, and a heartbeat that is missing."""

from plastic_loop import Driven
from toys import PERIOD

from hebb_controller.node.values import Phase


def test_all_joints_that_read_the_same_damp_and_one_does_not():
    driven = Driven(frozen_timeout=4 * PERIOD)
    for tick in range(30):
        driven.step(joint_position=(0.25, 1e-6 * tick), joint_velocity=(0.0, 0.0))
    assert driven.status.phase is Phase.RUN
    assert driven.loop.guard.constant_joints == ("knee",)
    frozen = {"joint_position": (0.25, 0.0), "joint_velocity": (0.0, 0.0)}
    driven.step(5, **frozen)
    assert driven.status.phase is Phase.RUN
    driven.step(**frozen)
    assert driven.status.phase is Phase.DAMPED
    assert "all joints have read the same for 0.62 s" in driven.status.reason


def test_without_a_heartbeat_the_robot_is_damped_and_not_let_go():
    driven = Driven(run=False, heartbeat_timeout=2 * PERIOD)
    driven.loop.start(0.0)
    for _ in range(10):
        driven.loop.guard.beat(driven.stamp * 1e-9)
        driven.step()
    assert driven.status.phase is Phase.RUN
    driven.step(2)
    assert driven.status.phase is Phase.DAMPED
    assert "no heartbeat for 375 ms (limit 250 ms)" in driven.status.reason
    now = driven.stamp * 1e-9
    assert "no heartbeat" in driven.loop.reset_estop(now)
    driven.loop.guard.beat(now)
    assert driven.loop.reset_estop(now) == ""
