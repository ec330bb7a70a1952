"""``hebb doctor`` as a process of its own: against the simulator, and against drivers with faults."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace

import numpy as np
import pytest
from driver import Driver
from hanging import STOPS, hanging_a1
from rig import gentle_rule
from sensor_msgs.msg import JointState
from std_msgs.msg import Empty

from hebb_controller.doctor.heard import Level
from hebb_controller.doctor.moves import Moves
from hebb_controller.node.doctor import Doctor, Topics
from hebb_controller.node.operator_client import Operator
from hebb_controller.node.processes import SIMULATOR, NodeProcess
from hebb_controller.robot import load_robot
from hebb_controller.rule import make_rule
from hebb_controller.rule_file import load_rule, save_rule

TOPICS = Topics("/joint_states", "/imu/data", "/joint_command")

# The machine's own pauses are not what is looked for here.
PATIENT = ("--sensor-timeout", "2")


@dataclass
class Diagnosis:
    """What a run of the doctor said."""

    exit_code: int
    findings: list[dict[str, str]]
    errors: str

    @property
    def failed(self):
        return {
            f["check"]: f"{f['detail']}; {f['fix']}" for f in self.findings if f["level"] == "FAIL"
        }


RUNNING: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def _none_is_left():
    """End what a failed test left running: it would command the next one's robot."""
    yield
    while RUNNING:
        process = RUNNING.pop()
        process.kill()
        process.wait()


def started(robot, *words):
    command = [
        sys.executable,
        "-m",
        "hebb_controller.cli",
        "doctor",
        "--robot",
        str(robot),
        "--json",
    ]
    process = subprocess.Popen(
        [*command, "--seconds", "1.5", *PATIENT, *map(str, words)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    RUNNING.append(process)
    return process


def ended(process):
    output, errors = process.communicate(timeout=90)
    findings = json.loads(output)["findings"] if output else []
    return Diagnosis(process.returncode, findings, errors)


def doctor(robot, *words):
    return ended(started(robot, *words))


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    """Return the path of the spec of a1 that is not damped by a busy machine's pauses."""
    return hanging_a1(tmp_path_factory.mktemp("hanging"), max_reading_age=2.0)


@pytest.fixture(scope="module")
def patient(robot, tmp_path_factory):
    """Return the option of a rule that ticks so slowly that a busy machine hears enough for it."""
    rule = gentle_rule(robot)
    path = tmp_path_factory.mktemp("slow") / "slow.rule.safetensors"
    save_rule(make_rule(replace(rule.header, tick_period=0.1), rule.layers), path)
    return "--rule", path


@pytest.fixture
def hanging_robot(spec, tmp_path):
    parameters = {"robot": str(spec), "damage": STOPS}
    with NodeProcess(SIMULATOR, parameters, log=tmp_path / "sim.log") as simulator:
        yield simulator


@pytest.mark.usefixtures("hanging_robot")
def test_a_simulated_robot_that_hangs_is_well_and_moves_joint_by_joint(spec, robot, patient):
    leg = [robot.joint_names[i] for i in robot.legs["FR"]]
    only = [word for name in leg for word in ("--joint", name)]
    said = doctor(spec, *patient, "--move", "--yes", *only)
    assert said.exit_code == 0, said
    moved = [f["detail"].split()[0] for f in said.findings if f["check"] == "move"]
    assert moved == leg
    # How fast the simulator is depends on what else the machine does.
    rates = {"joint_states", "imu/data"}
    assert [f for f in said.findings if f["level"] != "ok" and f["check"] not in rates] == []


def test_a_robot_that_nobody_drives_fails(spec):
    said = doctor(spec)
    assert said.exit_code == 1
    assert set(said.failed) == {"joint_states", "imu/data", "receiver"}


def test_the_doctor_only_listens_unless_it_is_asked_to_move(spec, robot, patient):
    with Driver(robot) as driver:
        said = doctor(spec, *patient)
        assert said.exit_code == 0, said
        assert driver.commanders == set()
        assert driver.commands == []


def permuted(robot):
    """Return the names in the order hip, knee, thigh of each leg: an easy mistake."""
    names = list(robot.joint_names)
    for leg in robot.legs.values():
        _, thigh, knee = leg
        names[thigh], names[knee] = names[knee], names[thigh]
    return names


FAULTS = {
    "permuted names": (lambda r: {"names": permuted(r)}, "joint position", "order of names"),
    "an unknown name": (
        lambda r: {"names": ["FR_abad", *r.joint_names[1:]]},
        "joint names",
        "lacks FR_hip_joint; it also has: FR_abad",
    ),
    "degrees": (lambda _: {"scale": 180 / np.pi}, "joint position", "fit in degrees"),
    "half rate": (lambda _: {"rate": 25.0}, "joint_states", "the rule ticks at 50 Hz"),
    "imu upside down": (lambda _: {"orientation": (1, 0, 0, 0)}, "gravity", "tilted by 3.14"),
    "quality of service": (lambda _: {"latched": True}, "quality of service", "/driver on"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_drivers_fault_is_found_at_rest_and_then_nothing_moves(fault, spec, robot):
    options, check, words = FAULTS[fault]
    with Driver(robot, **options(robot)) as driver:
        said = doctor(spec, "--move", "--yes")
        assert said.exit_code == 1
        assert words in said.failed[check], said
        assert said.findings[-1]["detail"] == "nothing was moved"
        assert driver.commands == []


def test_a_joint_that_reads_mirrored_is_found_as_it_moves_and_the_robot_damped(
    spec, robot, patient
):
    # The hip rests at zero, where its sign cannot be seen.
    scale = np.where(np.array(robot.joint_names) == "FR_hip_joint", -1.0, 1.0)
    with Driver(robot, scale=scale) as driver:
        said = doctor(spec, *patient, "--move", "--yes")
        assert said.exit_code == 1
        assert "FR_hip_joint moves the wrong way" in said.failed["move"]
        assert driver.damped


def test_motors_that_are_exchanged_are_found_as_they_move(spec, robot, patient):
    exchanged = {"FR_hip_joint": "FL_hip_joint", "FL_hip_joint": "FR_hip_joint"}
    with Driver(robot, wiring=exchanged) as driver:
        said = doctor(spec, *patient, "--move", "--yes")
        assert said.exit_code == 1
        assert "FR_hip_joint should move, but FL_hip_joint moved" in said.failed["move"]
        assert driver.damped


def test_a_topic_of_another_type_is_named(spec, robot):
    with Driver(robot), Operator(name="stranger") as stranger:
        stranger.node.create_publisher(Empty, "imu/data", 1)
        said = doctor(spec)
        assert said.exit_code == 1
        assert "/stranger has std_msgs/msg/Empty on /imu/data" in said.failed["quality of service"]


def test_two_doctors_do_not_move_one_robot(spec, robot, patient):
    with Driver(robot) as driver:
        process = started(spec, *patient, "--move", "--yes")
        driver.wait_for_motion()
        said = doctor(spec, *patient, "--move", "--yes")
        assert "published by /hebb_doctor" in said.failed["commanders"]
        process.send_signal(signal.SIGINT)
        first = ended(process)
        assert "interrupted" in first.failed["move"], "the second one has not even begun to command"


def test_nothing_moves_while_somebody_else_commands(spec, robot):
    with Driver(robot) as driver:
        driver.operator.node.create_publisher(JointState, "joint_command", 1)
        said = doctor(spec, "--move", "--yes")
        assert said.exit_code == 1
        assert "published by /driver" in said.failed["commanders"]
        assert driver.commands == []


def test_somebody_else_who_begins_to_command_ends_the_moves(spec, robot, patient):
    with Driver(robot) as driver:
        process = started(spec, *patient, "--move", "--yes")
        driver.wait_for_motion()
        driver.operator.node.create_publisher(JointState, "joint_command", 1)
        said = ended(process)
        assert said.exit_code == 1
        assert "also published by /driver" in said.failed["move"]
        assert driver.damped


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_moves_with_the_robot_damped(spec, robot, patient, number):
    with Driver(robot) as driver:
        process = started(spec, *patient, "--move", "--yes")
        driver.wait_for_motion()
        process.send_signal(number)
        said = ended(process)
        assert said.exit_code == 130
        assert "interrupted" in said.failed["move"]
        assert driver.damped


def test_a_driver_that_falls_silent_ends_the_moves(robot, patient, tmp_path):
    spec = hanging_a1(tmp_path, max_reading_age=0.3)
    with Driver(robot) as driver:
        process = started(spec, *patient, "--move", "--yes")
        driver.wait_for_motion()
        driver.quiet = True
        said = ended(process)
        assert said.exit_code == 1
        assert "ms old (limit 300 ms)" in said.failed["move"]
        assert driver.damped


def test_a_reading_that_arrives_while_the_doctor_looks_around_is_not_from_the_future(
    spec, robot, monkeypatch
):
    monkeypatch.setattr(Doctor, "_look_around", lambda *_: time.sleep(0.1))  # ten readings
    told = []
    with Driver(robot), Doctor(load_robot(spec), TOPICS) as listening:
        listening.listen(0.5)
        moves = Moves(
            load_robot(spec), [0], amplitude=0.1, tell=told.append, announce=lambda _: None
        )
        listening.move(moves, lambda: False)
    assert [finding.level for finding in told] == [Level.OK], told


def test_moving_without_being_asked_is_refused(spec, robot):
    with Driver(robot) as driver:
        said = doctor(spec, "--move")
        assert said.exit_code == 2
        assert said.errors.count("\n") == 1
        assert "Add --yes" in said.errors
        assert driver.commands == []


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("--joint", "tail"), "--joint tail: robot 'a1' has FR_hip_joint"),
        (("--rule", "none.rule.safetensors"), "no such file"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(spec, words, error):
    said = doctor(spec, *words)
    assert said.exit_code == 2
    assert error in said.errors
    assert said.errors.count("\n") == 1


def test_a_rule_for_another_robot_fails(rule_file):
    said = doctor("mini_cheetah", "--rule", rule_file)
    assert load_rule(rule_file).header.contract.robot == "a1"
    assert said.exit_code == 1
    assert "trained for robot 'a1'" in said.failed["rule"]
