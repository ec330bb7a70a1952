"""What may fail beside the node, once each: it damps for that reason, and the reset leads back to the run.

In lock-step, where a busy machine is no fault; ``make test-stress`` does it in real time, with the faults
that only exist there, and measures it.
"""

import os

import pytest
from rig import CONTROL, SIM, find_stand_ins, is_damp, rigs, values

REASONS = {
    "frozen": "all joints have read the same",
    "imu_frozen": "the imu has read the same",
    "nan": "a sensor value is not finite",
}


@pytest.fixture(scope="module")
def switch(tmp_path_factory):
    """Return the file that makes the network raise while it exists."""
    path = tmp_path_factory.mktemp("switch") / "raise"
    os.environ["RAISE_WHILE"] = str(path)
    return path


@pytest.fixture(scope="module")
def start(tmp_path_factory, rule_file, switch):
    """Return the function that starts a rig whose driver can be spoiled, and whose network raises."""
    find_stand_ins()
    with rigs(
        lambda: tmp_path_factory.mktemp("rig"),
        rule_file,
        simulator="faulty_sim",
        controller="raising_controller",
    ) as started:
        yield started


@pytest.fixture(scope="module")
def running(start):
    return start(sim={"real_time_factor": 2.0, "lock_step": True}, lock_step=True).up().running()


def comes_back(running):
    index = len(running.statuses.items)
    assert running.operator.trigger(f"{CONTROL}/reset_estop") == ""
    running.wait_for_phase("RUN", since=index)


@pytest.mark.parametrize("fault", REASONS)
def test_sensors_that_fail_damp_and_the_reset_leads_back(running, fault):
    index = len(running.statuses.items)
    running.set(SIM, "fault", fault)
    running.wait_for_phase("DAMPED", since=index)
    assert REASONS[fault] in running.status["reason"]
    running.commands.wait(is_damp, since=len(running.commands.items) - 1)
    running.set(SIM, "fault", "none")
    running.readings.wait_for(10)
    comes_back(running)


def test_a_robot_whose_power_is_cut_is_damped_and_does_not_run_until_it_is_back(running, robot):
    """It reads well and lies still; no command moves it."""
    index = len(running.statuses.items)
    running.set(SIM, "damage", ",".join(f"{leg}:limp" for leg in robot.legs))
    running.wait_for_phase("DAMPED", since=index)
    assert "have not followed their targets" in running.status["reason"]
    index = len(running.statuses.items)
    assert running.operator.trigger(f"{CONTROL}/reset_estop") == ""
    # A DAMPED that comes before this was sent before the reset.
    running.wait_for_phase("TO_DEFAULT_POSE", since=index)
    running.wait_for_phase("DAMPED", since=len(running.statuses.items))
    assert "have not followed their targets" in running.status["reason"]
    passed = [values(status)["phase"] for _, status in running.statuses.items[index:]]
    assert "RUN" not in passed
    running.set(SIM, "damage", "none")
    comes_back(running)


def test_an_exception_in_the_network_damps_and_the_reset_leads_back(running, switch):
    index = len(running.statuses.items)
    switch.touch()
    running.wait_for_phase("DAMPED", since=index)
    reason = running.status["reason"]
    assert "the control thread failed: ZeroDivisionError: planted" in reason
    running.commands.wait(is_damp, since=len(running.commands.items) - 1)
    switch.unlink()
    comes_back(running)


def test_joints_in_another_order_every_time_change_nothing(start):
    """Bit for bit; the last test here, since one rig follows the other."""
    trajectories = []
    for fault in ("none", "permuted"):
        made = start(sim={"duration": 4.0}, lock_step=True)
        made.set(SIM, "fault", fault)
        made.up()
        assert made.simulator.wait(60.0) == 0, made.logs()
        assert made.status["phase"] == "RUN", made.logs()
        made.readings.wait_for_all(200)  # the last ones may still be on their way
        trajectories.append(
            {
                (m.header.stamp.sec, m.header.stamp.nanosec): sorted(
                    zip(m.name, m.position, strict=True)
                )
                for _, m in made.readings.items
            }
        )
    assert len(trajectories[0]) == 200
    assert trajectories[0] == trajectories[1]
