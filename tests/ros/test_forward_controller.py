"""Commands for a ros2_control forward controller: bare targets, which cannot express DAMP."""

import signal
import threading
import time

import numpy as np
from rig import CONTROL, PATIENCE, Recorder, patient_parameters, values
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray


class ForwardController:
    """Stands for ros2_control's: repeats the last targets that it was given, at 100 Hz, for ever."""

    def __init__(self, operator, robot):
        self.heard = Recorder()
        self._names = list(robot.joint_names)
        self._publisher = operator.node.create_publisher(JointState, "joint_command", 1)
        operator.watch(Float64MultiArray, f"{CONTROL}/commands", self.heard, 100)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def end(self):
        self._ending.set()
        self._thread.join()

    @property
    def targets(self):
        return list(self.heard.items[-1][1].data)

    def _run(self):
        while not self._ending.wait(0.01):
            if self.heard.items:
                self._publisher.publish(JointState(name=self._names, position=self.targets))


def test_a_forward_controller_is_refused_where_the_robot_has_to_be_damped(rig):
    made = rig(controller={"command_type": "float64_multi_array"})
    assert not made.operator.change_state(CONTROL, "configure", timeout=PATIENCE)
    assert "command_type float64_multi_array cannot express DAMP" in made.controller.output()
    assert "Traceback" not in made.controller.output()


def test_a_forward_controller_gets_bare_targets_and_holds_the_last_whatever_stops_the_robot(
    rig, robot, tmp_path
):
    holding = patient_parameters(tmp_path, safe_action="hold")
    made = rig(controller={**holding, "command_type": "float64_multi_array"})
    forward = ForwardController(made.operator, robot)
    try:
        made.up().running()
        forward.heard.wait_for(50)
        heard = np.array([m.data for _, m in forward.heard.items])
        assert heard.shape[1] == 12
        assert (np.abs(heard - robot.default) < 0.5).all()
        assert np.ptp(heard[-40:], axis=0).max() > 0.0  # the network drives

        since = len(made.statuses.items)
        assert made.operator.trigger(f"{CONTROL}/estop") == ""
        made.wait_for_phase("DAMPED", since=since)
        assert made.status["reason"] == "~/estop was called: holding"
        forward.heard.wait_for(5)  # what was sent before may be heard after the status
        held = forward.targets
        start = len(forward.heard.items)
        forward.heard.wait_for(20)
        assert all(list(m.data) == held for _, m in forward.heard.items[start:])

        assert made.operator.change_state(CONTROL, "deactivate")
        assert forward.targets == held
        time.sleep(0.5)  # what was on its way has arrived
        silent = len(forward.heard.items)
        since = len(made.diagnostics.items)
        _, status = made.wait_for_sim(lambda s: s.message == "following commands", since=since)
        assert len(forward.heard.items) == silent

        assert made.operator.change_state(CONTROL, "activate")
        since = len(made.statuses.items)
        made.wait_for_phase("RUN", since=since - 1)
        forward.heard.wait_for(10)
        made.controller.send_signal(signal.SIGINT)
        assert made.controller.wait(PATIENCE) == 0, made.logs()
        held = forward.targets
        assert len(held) == 12
        time.sleep(0.2)
        assert forward.targets == held
        assert values(status)["damage"] == "none"
    finally:
        forward.end()


def test_what_moved_the_robot_meanwhile_is_not_undone_by_targets_of_before(rig, robot, tmp_path):
    """Without a reading after activation there is nothing to hold: the targets of before are old."""
    holding = patient_parameters(tmp_path, safe_action="hold")
    made = rig(controller={**holding, "command_type": "float64_multi_array"})
    forward = ForwardController(made.operator, robot)
    try:
        made.up().running()
        assert made.operator.change_state(CONTROL, "deactivate")
        made.simulator.send_signal(signal.SIGSTOP)  # sensors fall silent
        time.sleep(0.5)
        before = len(forward.heard.items)
        since = len(made.statuses.items)
        assert made.operator.change_state(CONTROL, "activate")
        made.wait_for_phase("DAMPED", since=since)
        assert "no complete sensor reading" in made.status["reason"]
        time.sleep(0.2)
        assert len(forward.heard.items) == before
    finally:
        made.simulator.send_signal(signal.SIGCONT)
        forward.end()
