"""What the guard alone can see: sensors that froze, clocks that jumped, switches that stop the robot."""

import numpy as np
import pytest
from plastic_loop import NS, Driven, run_again
from toys import PERIOD, toy_reading

from hebb_controller.node.values import Phase, Sample, Source
from hebb_controller.signals import Mode


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
        driven.loop.guard.heartbeat(driven.stamp * 1e-9)
        driven.step()
    assert driven.status.phase is Phase.RUN
    driven.step(2)
    assert driven.status.phase is Phase.DAMPED
    assert "no heartbeat for 375 ms (limit 250 ms)" in driven.status.reason
    now = driven.stamp * 1e-9
    assert "no heartbeat" in driven.loop.reset_estop(now)
    driven.loop.guard.heartbeat(now)
    assert driven.loop.reset_estop(now) == ""


def test_in_a_dry_run_joints_may_stand_still_and_the_imu_may_not():
    driven = Driven(frozen_timeout=4 * PERIOD, obeyed=False)
    still = {"joint_position": (0.25, 0.0), "joint_velocity": (0.0, 0.0)}
    driven.step(20, **still)
    assert driven.status.phase is Phase.RUN
    driven.step(6, **still, angular_velocity_base=np.zeros(3))
    assert driven.status.phase is Phase.DAMPED
    assert "the imu has read the same" in driven.status.reason


def test_a_clock_that_jumps_ahead_makes_no_sensor_stand_still():
    """The joints tell the new time first: all the while the imu was heard, by the old time."""
    driven = Driven(frozen_timeout=4 * PERIOD)
    driven.step(5)
    heard, frozen = driven.stamp, np.full(3, 1e-9 * (driven.stamp // NS))
    driven.stamp += 60 * NS
    phases = []
    for tick in range(1, 5):
        driven.step(angular_velocity_base=frozen, received=(heard + tick * NS) * 1e-9)
        phases.append(driven.status.phase)
    assert phases == [Phase.RUN] * 3 + [Phase.DAMPED]
    assert "the imu has read the same for 0.62 s" in driven.status.reason


@pytest.mark.parametrize("topic", ["joint_states", "imu/data"])
def test_the_stamps_of_each_topic_must_not_jump_back(topic):
    driven = Driven()
    in_step = {"joint_states": 0, "imu/data": 0}
    driven.step(5, sources=in_step)
    assert driven.status.phase is Phase.RUN
    driven.step(sources={**in_step, topic: 80})
    assert driven.status.phase is Phase.DAMPED
    assert f"the stamps of {topic} jumped back by 9.875 s" in driven.status.reason


def test_the_stamps_of_each_topic_must_go_on():
    driven = Driven(frozen_timeout=4 * PERIOD)
    for tick in range(10):
        driven.step(sources={"joint_states": 0, "imu/data": tick})
    assert driven.status.phase is Phase.DAMPED
    assert driven.status.reason.startswith("the stamps of imu/data have stood still for 0.62 s")


def test_a_topic_that_falls_silent_is_named():
    driven = Driven()
    driven.step(5)
    now = (driven.stamp + NS) * 1e-9
    reading = toy_reading(driven.robot, now, received=now - 0.5)
    sources = (
        Source("joint_states", driven.stamp, now - 0.5),
        Source("imu/data", driven.stamp, now),
    )
    driven.loop.tick(Sample(reading, driven.stamp + NS, sources), now)
    assert driven.status.phase is Phase.DAMPED
    assert "nothing new on joint_states" in driven.status.reason


def test_an_estop_that_is_published_holds_for_two_seconds():
    driven = Driven()
    now = driven.stamp * 1e-9
    driven.loop.guard.press(now)
    driven.loop.damp("estop was published")
    assert driven.loop.reset_estop(now + 1.9) == "still unsafe: estop is being published."
    driven.step(17)
    assert driven.loop.reset_estop(driven.stamp * 1e-9) == ""


def test_an_estop_that_is_published_keeps_a_run_from_moving_anything():
    driven = Driven(run=False)
    driven.loop.guard.press(0.0)
    driven.loop.start(0.0)
    (command,) = driven.step()
    assert command.mode is Mode.DAMP
    assert driven.status.reason.startswith("estop is being published")
    driven.step(16)  # 2 s later nobody has published it again
    run_again(driven)


def test_a_clock_that_is_synchronised_may_take_its_topic_back_a_little():
    driven = Driven()
    for behind in (0, 0, 1, 2, 0):  # each tick is 0.125 s, the sensor timeout 0.25 s
        driven.step(sources={"joint_states": 0, "imu/data": behind})
    assert driven.status.phase is Phase.RUN


def test_topics_without_stamps_drive_nothing():
    driven = Driven(run=False)
    driven.stamp = 9 * NS
    driven.loop.start(0.0)
    (command,) = driven.step(sources={"joint_states": 0, "imu/data": 10})
    assert command.mode is Mode.DAMP
    assert "imu/data has no stamps" in driven.status.reason


@pytest.mark.parametrize(("sources", "phase"), [(("imu/data",), Phase.DAMPED), ((), None)])
def test_a_topic_that_stands_still_alone_stops_the_way_to_the_default_pose(sources, phase):
    driven = Driven(run=False, frozen_timeout=2 * PERIOD)
    driven.stamp = 8 * NS
    driven.loop.start(driven.stamp * 1e-9)
    away = (1.2, 0.0)  # nearly a second from the default pose
    for tick in range(1, 6):
        behind = dict.fromkeys(sources, tick)
        driven.step(sources={"joint_states": 0, **behind} if sources else {}, joint_position=away)
    assert driven.status.phase is (phase or Phase.TO_DEFAULT_POSE)


def test_what_stood_still_before_a_start_does_not_count_after_it():
    driven = Driven(frozen_timeout=4 * PERIOD)
    for tick in range(4):
        driven.step(sources={"joint_states": 0, "imu/data": tick})
    driven.loop.guard.start()
    assert driven.loop.guard.stamp_stall(driven.stamp * 1e-9 + 10.0) == ""
