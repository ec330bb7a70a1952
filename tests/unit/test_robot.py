"""Robot specs: what is missing, unknown or senseless is named; nothing is filled in."""

import math
import re

import pytest
from toys import toy_document

from hebb_controller.errors import RobotSpecError
from hebb_controller.robot import available_robots, load_robot, parse_robot
from hebb_controller.spec_completeness import missing_fields

JOINT_FIELDS = (
    *("lower", "upper", "default", "velocity", "torque"),
    *("kp", "kd", "rotor_inertia", "max_target_rate"),
)


def parse(document):
    return parse_robot(document, where="toy.yaml")


def test_the_shipped_a1_loads():
    robot = load_robot("a1")
    assert "a1" in available_robots()
    assert robot.name == "a1"
    assert robot.n_joints == 12
    assert robot.joint_names[:3] == ("FR_hip_joint", "FR_upper_joint", "FR_lower_joint")
    assert dict(robot.legs) == {
        "FR": (0, 1, 2),
        "FL": (3, 4, 5),
        "RR": (6, 7, 8),
        "RL": (9, 10, 11),
    }
    # the URDF's limits of the first leg, and the crouched stand
    assert robot.lower[:3].tolist() == [-0.80, -1.04, -2.69]
    assert robot.upper[:3].tolist() == [0.80, 4.18, -0.92]
    assert robot.default[:3].tolist() == [0.0, 0.9, -1.8]
    assert robot.torque[:3].tolist() == [20.0, 33.5, 33.5]
    assert (robot.kp == 40.0).all()
    assert (robot.rotor_inertia == 0.01).all()


def test_vectors_are_in_the_order_of_the_joints_and_cannot_be_changed():
    robot = parse(toy_document())
    assert robot.joint_names == ("knee", "hip")
    assert robot.upper.tolist() == [1.5, 4.0]
    assert robot.kd.tolist() == [1.0, 1.0]  # from joint_defaults
    assert robot.legs["left"] == (0, 1)
    with pytest.raises(ValueError, match="read-only"):
        robot.upper[0] = 99.0
    with pytest.raises(TypeError):
        robot.legs["left"] = ()


def test_a_joint_overrides_the_defaults_for_itself_only():
    document = toy_document()
    document["joints"]["hip"]["kd"] = 3.0
    assert parse(document).kd.tolist() == [1.0, 3.0]


@pytest.mark.parametrize("field", ["name", "joints", "legs", "safety", "simulation"])
def test_every_missing_part_is_named(field):
    document = toy_document()
    del document[field]
    with pytest.raises(RobotSpecError, match=rf"^toy.yaml: .*'{field}' is missing"):
        parse(document)


@pytest.mark.parametrize("field", JOINT_FIELDS)
def test_every_missing_joint_value_is_named_with_its_joint(field):
    document = toy_document()
    document["joint_defaults"].pop(field, None)
    document["joints"]["hip"].pop(field, None)
    document["joints"]["knee"].setdefault(field, 1.0)
    with pytest.raises(RobotSpecError, match=rf"joint 'hip': '{field}' is missing"):
        parse(document)


@pytest.mark.parametrize(
    ("part", "field"),
    [
        *(("safety", field) for field in ("safe_action", "max_tilt", "max_reading_age")),
        *(("simulation", field) for field in ("urdf", "start_height", "fall_height")),
    ],
)
def test_every_missing_value_of_a_part_is_named(part, field):
    document = toy_document()
    del document[part][field]
    with pytest.raises(RobotSpecError, match=rf"{part}: '{field}' is missing"):
        parse(document)


def test_an_imu_is_mounted_along_the_body_unless_the_spec_says_how():
    assert parse(toy_document()).imu_rotation == (0.0, 0.0, 0.0, 1.0)
    half = math.sqrt(0.5)
    turned = parse({**toy_document(), "imu": {"rotation": [0, 0, math.pi / 2]}})
    assert turned.imu_rotation == pytest.approx((0.0, 0.0, half, half), abs=2**-52)


def test_velocities_are_measured_unless_the_spec_says_otherwise():
    assert parse(toy_document()).velocity_cutoff is None
    measured = {"source": "measured"}
    assert parse({**toy_document(), "joint_velocity": measured}).velocity_cutoff is None
    estimated = {"source": "estimated", "cutoff": 8}
    assert parse({**toy_document(), "joint_velocity": estimated}).velocity_cutoff == 8.0


@pytest.mark.parametrize(
    ("part", "fields", "words"),
    [
        ("imu", {}, "'rotation' is missing"),
        ("imu", {"rpy": [0, 0, 0]}, "unknown field 'rpy'. Known: rotation"),
        ("imu", {"rotation": 1.5}, r"rotation: expected \[roll, pitch, yaw\], rad"),
        ("imu", {"rotation": [0, 0]}, r"expected \[roll, pitch, yaw\]"),
        ("imu", {"rotation": [0, 0, 0, 1]}, r"expected \[roll, pitch, yaw\]"),
        ("imu", {"rotation": [0, "up", 0]}, "expected a number, found 'up'"),
        (
            "imu",
            {"rotation": [0, "1e-9", 0]},
            "found '1e-9', which YAML takes for text: write 1.0e-9",
        ),
        ("imu", {"rotation": [0, 0, math.nan]}, "finite"),
        ("imu", {"rotation": [0, 0, 90]}, r"beyond ±2 pi. Give radians"),
        ("joint_velocity", "estimated", "expected a mapping"),
        ("joint_velocity", {"cutoff": 8.0}, "'source' is missing"),
        ("joint_velocity", {"source": "guessed"}, "Known: measured, estimated"),
        ("joint_velocity", {"source": "measured", "cutoff": 8.0}, "unknown field 'cutoff'"),
        ("joint_velocity", {"source": "estimated"}, "'cutoff' is missing"),
        ("joint_velocity", {"source": "estimated", "cutoff": 0}, "cutoff is 0; it must be pos"),
    ],
)
def test_what_an_optional_part_cannot_be_is_said_with_its_place(part, fields, words):
    with pytest.raises(RobotSpecError, match=rf"^toy.yaml: {part}.*{words}"):
        parse({**toy_document(), part: fields})


def with_simulation(**fields):
    document = toy_document()
    heights = {key: document["simulation"][key] for key in ("start_height", "fall_height")}
    return {**document, "simulation": {**heights, **fields}}


def test_an_mjcf_model_has_the_density_that_the_spec_states():
    simulation = parse(with_simulation(mjcf="toy.xml", density=62.5)).simulation
    assert (simulation.model, simulation.density) == ("toy.xml", 62.5)
    simulation = parse(with_simulation(urdf="toy.urdf", solver_iterations=20)).simulation
    assert (simulation.model, simulation.density) == ("toy.urdf", None)
    assert simulation.solver_iterations == 20


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"mjcf": "toy.xml"}, "'density' is missing"),
        ({"mjcf": "toy.xml", "density": None}, "simulation: 'density' is missing"),
        ({"mjcf": "toy.xml", "density": "5"}, "density: expected a number"),
        ({"mjcf": "toy.xml", "density": 0.0}, "density is 0; it must be positive"),
        (
            {"urdf": "toy.urdf", "density": 62.5},
            "unknown field 'density'. Known: urdf, inertials",
        ),
        ({"mjcf": "a", "density": 1, "urdf": "b"}, "unknown field 'urdf'. Known: mjcf, density"),
        ({"urdf": "toy.urdf", "solver_iterations": 2.5}, "must be a whole number from 1 to 1000"),
        ({"urdf": "toy.urdf", "solver_iterations": 1001}, "must be a whole number from 1 to 1000"),
        ({"urdf": "toy.urdf", "inertials": "guessed"}, "'guessed' are unknown. Known: stated"),
        ({"mjcf": "toy.xml", "density": 5.0, "inertials": "stated"}, "unknown field 'inertials'"),
        ({"urdf": "toy.urdf", "solver_iterations": 0}, "solver_iterations is 0"),
    ],
)
def test_a_model_that_is_stated_wrongly_is_refused(fields, words):
    with pytest.raises(RobotSpecError, match=re.escape(words)):
        parse(with_simulation(**fields))


@pytest.mark.parametrize("path", [(), ("joint_defaults",), ("joints", "hip"), ("safety",)])
def test_an_unknown_field_is_refused_by_name(path):
    document = toy_document()
    node = document
    for key in path:
        node = node[key]
    node["colour"] = "red"
    with pytest.raises(RobotSpecError, match=r"unknown field 'colour'. Known: "):
        parse(document)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10**400, 1e10, "1.0", True, None])
@pytest.mark.parametrize("field", [*JOINT_FIELDS, "max_tilt", "fall_height"])
def test_a_value_that_is_no_reasonable_number_is_refused_by_name(field, value):
    document = toy_document()
    if field in JOINT_FIELDS:
        document["joints"]["knee"][field] = value
    else:
        document["safety" if field == "max_tilt" else "simulation"][field] = value
    with pytest.raises(RobotSpecError, match=field):
        parse(document)


@pytest.mark.parametrize("field", sorted(set(JOINT_FIELDS) - {"lower", "upper", "default"}))
def test_limits_and_gains_are_not_negative(field):
    document = toy_document()
    document["joints"]["knee"][field] = -1.0
    with pytest.raises(RobotSpecError, match=rf"joint 'knee': {field} is -1"):
        parse(document)


@pytest.mark.parametrize("field", ["velocity", "torque", "kp", "kd", "max_target_rate"])
def test_limits_and_gains_are_not_zero(field):
    document = toy_document()
    document["joints"]["knee"][field] = 0
    with pytest.raises(RobotSpecError, match=rf"{field} is 0; it must be positive"):
        parse(document)


CONTRADICTIONS = {
    "lower must be below upper": {"lower": 1.5},
    "default is outside": {"default": 1.6},
}


@pytest.mark.parametrize("message", CONTRADICTIONS)
def test_contradictions_in_a_joint_are_refused(message):
    document = toy_document()
    document["joints"]["knee"].update(CONTRADICTIONS[message])
    with pytest.raises(RobotSpecError, match=message):
        parse(document)


@pytest.mark.parametrize(
    ("part", "field", "value", "message"),
    [
        ("safety", "safe_action", "pray", "safe_action 'pray' is unknown. Known: damp, hold"),
        ("safety", "max_tilt", 4.0, "limits nothing"),
        ("safety", "max_tilt", 0.0, "must be positive"),
        ("safety", "max_reading_age", -0.1, "must be positive"),
        ("simulation", "fall_height", 0, "must be positive"),
        ("legs", "left", [], "must be a list of joints"),
        ("legs", "left", "knee", "must be a list of joints"),
        ("legs", "left", ["knee", "toe"], "unknown joints: toe"),
        ("legs", "left", ["knee", "hip", "knee"], "legs: 'left' names 'knee' twice"),
        ("legs", "right", ["hip"], "legs: 'hip' is in 'left' and in 'right'"),
        (
            "simulation",
            "fall_height",
            0.5,
            "fall_height is 0.5; it must be below start_height, 0.5",
        ),
    ],
)
def test_senseless_values_are_refused(part, field, value, message):
    document = toy_document()
    document[part][field] = value
    with pytest.raises(RobotSpecError, match=message):
        parse(document)


@pytest.mark.parametrize("document", [[], "a1", 3])
@pytest.mark.parametrize("part", ["", "joints", "joint_defaults", "legs", "safety", "simulation"])
def test_a_part_that_is_no_mapping_is_refused(part, document):
    whole = document if not part else {**toy_document(), part: document}
    with pytest.raises(RobotSpecError, match="expected a mapping"):
        parse(whole)


def test_no_document_is_no_robot():
    with pytest.raises(RobotSpecError, match="expected a mapping"):
        parse(None)


@pytest.mark.parametrize("part", ["name", "joints", "legs", "safety", "simulation"])
def test_a_part_without_a_value_is_missing(part):
    with pytest.raises(RobotSpecError, match=rf"^toy.yaml: .*'{part}' is missing"):
        parse({**toy_document(), part: None})


def test_all_that_is_missing_is_named_at_once_and_the_same_of_all_joints_once():
    document = toy_document()
    document["joint_defaults"].update(kd=None, velocity=None)
    document["joints"]["knee"]["upper"] = None
    document["safety"] = {"safe_action": "damp", "max_tilt": None}
    document["simulation"].pop("urdf")
    assert missing_fields(document) == [
        "joint 'knee': 'upper' is missing",
        "every joint: 'velocity', 'kd' are missing",
        "safety: 'max_tilt', 'max_reading_age' are missing",
        "simulation: 'urdf' is missing",
    ]


def test_a_robot_without_joints_is_refused():
    with pytest.raises(RobotSpecError, match="joints: none are listed"):
        parse({**toy_document(), "joints": {}})


@pytest.mark.parametrize("name", ["", 3, ["a"], {"a": "b"}, "two\nlines", "\x1b[2J", 101 * "x"])
def test_a_name_is_text_that_fits_on_a_line(name):
    with pytest.raises(RobotSpecError, match=r"toy\.yaml: name: a name must be text of 1 to 100"):
        parse({**toy_document(), "name": name})


def test_names_of_joints_and_legs_are_text_too():
    document = toy_document()
    numbered = {1: document["joints"].pop("knee"), **document["joints"]}
    with pytest.raises(RobotSpecError, match=r"toy\.yaml: joints: a name must be text"):
        parse({**document, "joints": numbered})
    with pytest.raises(RobotSpecError, match=r"toy\.yaml: legs: a name must be text"):
        parse({**toy_document(), "legs": {1: ["knee", "hip"]}})


@pytest.mark.parametrize("name", ["hip", "motors", "sensors", "imu", "trunk", "ground"])
def test_a_leg_is_not_called_like_something_else_that_may_be_damaged(name):
    with pytest.raises(RobotSpecError, match=f"'{name}' is the name of something else"):
        parse({**toy_document(), "legs": {name: ["knee", "hip"]}})


# --- left and right ---


def mirrored(**fields):
    document = toy_document()
    document["joints"]["left knee"] = dict(document["joints"]["knee"])
    document["joints"]["left hip"] = dict(document["joints"]["hip"])
    document["mirror"] = {"knee": "left knee", "hip": "-left hip", **fields}
    return document


def test_the_mirror_exchanges_joints_and_turns_some_round():
    robot = parse_robot(mirrored(), where="toy")
    assert robot.mirror == ((2, 3, 0, 1), (1, -1, 1, -1))


def test_a_joint_in_the_middle_is_its_own_image():
    document = mirrored()
    document["joints"]["waist"] = dict(document["joints"]["hip"])
    document["mirror"]["waist"] = "-waist"
    robot = parse_robot(document, where="toy")
    assert robot.mirror == ((2, 3, 0, 1, 4), (1, -1, 1, -1, -1))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"hip": "-right hip"}, "the robot has no joint 'right hip'"),
        ({"hip": "left knee"}, "'left knee' is listed twice"),
        ({"knee": "-left knee"}, "'knee' and '-left knee' are declared mirror images"),
    ],
)
def test_a_mirror_that_does_not_fit_is_refused(fields, words):
    with pytest.raises(RobotSpecError, match=re.escape(f"toy: mirror: {words}")):
        parse_robot(mirrored(**fields), where="toy")


def test_a_mirror_without_some_joint_is_refused():
    document = mirrored()
    del document["mirror"]["hip"]
    with pytest.raises(RobotSpecError, match="no entry for hip, left hip"):
        parse_robot(document, where="toy")
