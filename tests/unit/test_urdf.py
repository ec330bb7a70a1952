"""Drafts from URDFs: what the URDF states is kept, what it does not is missing, nothing is invented."""

import math
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from hebb_controller.cli import hebb
from hebb_controller.errors import RobotSpecError
from hebb_controller.robot import load_robot
from hebb_controller.rotation import from_rpy, multiply
from hebb_controller.spec_completeness import missing_fields
from hebb_controller.spec_draft import draft_from_urdf, spec_text

HIP = '<limit lower="-0.5" upper="1.0" velocity="20" effort="30"/>'
MIRRORED = '<limit lower="-1.0" upper="0.5" velocity="20" effort="30"/>'


def joint(
    name, parent, child, *, kind="revolute", xyz="0 0 0", rpy="0 0 0", axis="1 0 0", inside=""
):
    return (
        f'<joint name="{name}" type="{kind}"><origin xyz="{xyz}" rpy="{rpy}"/><parent link="{parent}"/>'
        f'<child link="{child}"/><axis xyz="{axis}"/>{inside}</joint>'
    )


def write(directory, *joints, head=""):
    path = directory / "toy.urdf"
    path.write_text(f'{head}<robot name="toy">{"".join(joints)}</robot>', encoding="utf-8")
    return path


def two_legs(*, axis="1 0 0", limit=MIRRORED, y="0.2"):
    """Return a biped: each leg has a hip that turns about x, behind a fixed joint, and a knee about y."""
    return (
        joint("mount", "world", "trunk", kind="fixed", xyz="0 0 1"),
        joint("r_hip", "trunk", "r_thigh", xyz="0 -0.2 0", inside=HIP),
        joint("r_pad", "r_thigh", "r_plate", kind="fixed"),
        joint("r_knee", "r_plate", "r_shank", xyz="0 0 -0.3", axis="0 1 0", inside=HIP),
        joint("l_hip", "trunk", "l_thigh", xyz=f"0 {y} 0", axis=axis, inside=limit),
        joint("l_knee", "l_thigh", "l_shank", xyz="0 0 -0.3", axis="0 1 0", inside=HIP),
    )


def test_limits_are_kept_and_end_within_the_urdfs(tmp_path):
    limit = '<limit lower="-0.12345678" upper="1.23456789" velocity="20" effort="30.5"/>'
    draft = draft_from_urdf(write(tmp_path, joint("hip", "a", "b", inside=limit)))
    row = yaml.safe_load(spec_text(draft))["joints"]["hip"]
    assert row == {"lower": -0.1234, "upper": 1.2345, "velocity": 20.0, "torque": 30.5}


def test_large_and_small_numbers_are_numbers_to_yaml_too(tmp_path):
    limit = '<limit lower="-123.4567" upper="1" velocity="1e5" effort="0.00001"/>'
    draft = draft_from_urdf(write(tmp_path, joint("hip", "a", "b", inside=limit)))
    row = yaml.safe_load(spec_text(draft))["joints"]["hip"]
    assert row == {"lower": -123.4567, "upper": 1.0, "velocity": 1e5, "torque": 1e-5}


@pytest.mark.parametrize(
    ("kind", "limit", "stated"),
    [
        (
            "continuous",
            '<limit lower="-1" upper="1" velocity="9" effort="8"/>',
            {"velocity", "torque"},
        ),
        ("continuous", "", set()),
        ("revolute", "", set()),
        ("revolute", '<limit lower="1" upper="-1" velocity="9" effort="0"/>', {"velocity"}),
        ("revolute", '<limit velocity="0" effort="8"/>', {"torque"}),
        (
            "revolute",
            '<limit lower="-1e308" upper="1e308" velocity="9" effort="1e16"/>',
            {"velocity"},
        ),
        (
            "revolute",
            '<limit upper="1" velocity="9" effort="8"/>',
            {*("lower", "upper"), "velocity", "torque"},
        ),
    ],
)
def test_a_limit_that_is_not_stated_is_missing(tmp_path, kind, limit, stated):
    draft = draft_from_urdf(write(tmp_path, joint("hip", "a", "b", kind=kind, inside=limit)))
    assert set(draft.joints[0].limits) == stated
    document = yaml.safe_load(spec_text(draft))
    lacking = " ".join(missing_fields(document))
    for field in ("lower", "upper", "velocity", "torque"):
        assert (f"'{field}'" in lacking) is (field not in stated)


def test_what_no_urdf_says_is_missing_and_nothing_else(tmp_path):
    text = spec_text(draft_from_urdf(write(tmp_path, *two_legs())))
    assert missing_fields(yaml.safe_load(text)) == [
        "every joint: 'default', 'kp', 'kd', 'rotor_inertia', 'max_target_rate' are missing",
        "safety: 'safe_action', 'max_tilt', 'max_reading_age' are missing",
        "simulation: 'start_height', 'fall_height' are missing",
    ]
    spec = tmp_path / "toy.yaml"
    spec.write_text(text, encoding="utf-8")
    with pytest.raises(RobotSpecError, match=r"'kp', 'kd'.*'safe_action'.*'start_height'"):
        load_robot(spec)


def test_legs_are_the_chains_from_the_trunk_whatever_is_fixed_between(tmp_path):
    legs = draft_from_urdf(write(tmp_path, *two_legs())).legs
    assert [(leg.name, [j.name for j in leg.joints]) for leg in legs] == [
        ("r", ["r_hip", "r_knee"]),
        ("l", ["l_hip", "l_knee"]),
    ]


def test_hinges_that_branch_beyond_the_trunk_are_no_legs(tmp_path):
    arms = (joint("c", "b", "d", inside=HIP), joint("e", "b", "f", inside=HIP))
    draft = draft_from_urdf(write(tmp_path, joint("a", "a", "b", inside=HIP), *arms))
    assert draft.legs == ()
    assert "'legs' is missing" in missing_fields(yaml.safe_load(spec_text(draft)))[0]


def test_joints_are_mirrored_by_where_they_are_and_how_they_turn(tmp_path):
    # Seen in the plane y = 0 a turn about x goes the other way, one about y the same.
    draft = draft_from_urdf(write(tmp_path, *two_legs()))
    assert draft.mirror == {"r_hip": "-l_hip", "r_knee": "l_knee"}
    turned = draft_from_urdf(write(tmp_path, *two_legs(axis="-1 0 0", limit=HIP)))
    assert turned.mirror == {"r_hip": "l_hip", "r_knee": "l_knee"}


@pytest.mark.parametrize(
    "unlike", [{"axis": "0 0 1"}, {"limit": HIP}, {"y": "0.3"}, {"y": "-0.4"}, {"y": "0"}]
)
def test_where_left_and_right_do_not_match_no_mirror_is_guessed(tmp_path, unlike):
    draft = draft_from_urdf(write(tmp_path, *two_legs(**unlike)))
    assert draft.mirror == {}
    assert "no mirror" in draft.notes[-1]


def test_positions_and_axes_follow_the_rotations_of_the_links_above(tmp_path):
    # A quarter turn about z, then one about x: URDF's fixed axes, roll first.
    bent = joint("a", "a", "b", kind="fixed", xyz="1 0 0", rpy=f"{math.pi / 2} 0 {math.pi / 2}")
    draft = draft_from_urdf(write(tmp_path, bent, joint("h", "b", "c", xyz="1 2 3", axis="0 0 2")))
    # Roll takes z to −y and y to z; yaw takes x to y and −y to x.
    assert np.allclose(draft.joints[0].axis, (1.0, 0.0, 0.0))
    assert np.allclose(draft.joints[0].position, (1.0 + 3.0, 1.0, 2.0))


def test_joints_that_mimic_or_are_skipped_are_left_out(tmp_path):
    finger = joint("finger", "c", "d", inside=HIP + '<mimic joint="hip"/>')
    slide = joint("slide", "b", "c", kind="prismatic", inside=HIP)
    path = write(tmp_path, joint("hip", "a", "b", inside=HIP), slide, finger)
    with pytest.raises(RobotSpecError, match=r"'slide' is prismatic.*--skip slide"):
        draft_from_urdf(path)
    draft = draft_from_urdf(path, skip=["slide"])
    assert [j.name for j in draft.joints] == ["hip"]
    assert draft.notes[0] == "left out: finger mimics another joint"


@pytest.mark.parametrize("odd", ["&#x7f;", "&#10;", "&#x2028;"])
def test_a_name_that_cannot_be_printed_is_refused(tmp_path, odd):
    with pytest.raises(RobotSpecError, match=r"the name 'hip\\\S+' cannot be printed"):
        draft_from_urdf(write(tmp_path, joint(f"hip{odd}", "a", "b", inside=HIP)))


@pytest.mark.parametrize(
    ("lower", "upper", "expected"),
    [
        ("-0.4", "0.9", (-0.4, 0.9)),
        ("-9", "0.9", (-0.5, 0.9)),
        ("-9", "9", (-0.5, 1.0)),
        ("0", "0", (-0.5, 1.0)),  # as good as not stated
        ("2", "3", (-0.5, 1.0)),
    ],
)
def test_soft_limits_within_the_limits_are_the_limits(tmp_path, lower, upper, expected):
    soft = f'<safety_controller soft_lower_limit="{lower}" soft_upper_limit="{upper}"/>'
    draft = draft_from_urdf(write(tmp_path, joint("hip", "a", "b", inside=HIP + soft)))
    assert (draft.joints[0].limits["lower"], draft.joints[0].limits["upper"]) == expected


def test_a_safety_controller_without_soft_limits_limits_nothing(tmp_path):
    soft = '<safety_controller k_velocity="10" soft_lower_limit="0.2"/>'
    draft = draft_from_urdf(write(tmp_path, joint("hip", "a", "b", inside=HIP + soft)))
    assert draft.joints[0].limits["lower"] == -0.5


@pytest.mark.parametrize(
    "rpy", ["3.1416 0 0", "0.1 -0.2 0.3", "0 1.5708 0", "0 -1.5708 0.5", "0 0 -1.5708"]
)
def test_a_turned_imu_is_noted_with_the_rotation_that_a_spec_takes(tmp_path, rpy):
    shelf = joint("shelf", "trunk", "plate", kind="fixed", rpy="0 0 0.5")
    back = joint("chip", "plate", "IMU_link", kind="fixed", rpy=rpy)
    notes = draft_from_urdf(write(tmp_path, *two_legs(), shelf, back)).notes
    (note,) = (note for note in notes if "IMU_link" in note)
    angles = yaml.safe_load(note[note.index("imu: {") :])["imu"]["rotation"]
    expected = from_rpy(0.0, 0.0, 0.5), from_rpy(*map(float, rpy.split()))
    found = np.array(from_rpy(*angles))
    assert abs(found @ np.array(multiply(*expected))) == pytest.approx(1.0, abs=1e-8)


@pytest.mark.parametrize(
    ("parent", "rpy"), [("trunk", "0 0 0"), ("trunk", "0 0 6.2832"), ("r_plate", "0 0 1")]
)
def test_nothing_is_noted_of_an_imu_along_the_trunk_or_on_a_leg(tmp_path, parent, rpy):
    chip = joint("chip", parent, "imu_link", kind="fixed", rpy=rpy)
    assert draft_from_urdf(write(tmp_path, *two_legs(), chip)).notes == ()


def test_a_lone_joint_that_turns_without_end_is_perhaps_no_leg(tmp_path):
    lidar = joint("spin", "trunk", "lidar", kind="continuous", xyz="0 0.1 0.1", axis="0 0 1")
    notes = draft_from_urdf(write(tmp_path, *two_legs(), lidar)).notes
    assert any("leave it out with --skip spin" in note for note in notes)
    wheels = (
        joint(f"w{y}", "trunk", f"rim{y}", kind="continuous", xyz=f"0 {y} 0", axis="0 1 0")
        for y in (-1, 1)
    )
    assert not any("--skip" in note for note in draft_from_urdf(write(tmp_path, *wheels)).notes)


LAUGHS = '<!DOCTYPE r [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]>'
EXTERNAL = '<!DOCTYPE r SYSTEM "file:///etc/hostname">'


@pytest.mark.parametrize("head", [LAUGHS, EXTERNAL])
def test_a_document_type_is_refused(tmp_path, head):
    with pytest.raises(RobotSpecError, match="DOCTYPE"):
        draft_from_urdf(write(tmp_path, *two_legs(), head=head))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not readable as XML"),
        ("<robot", "not readable as XML"),
        ("<sdf/>", "root is <sdf>"),
        ("<robot/>", "nothing to drive"),
        (
            '<robot xmlns:xacro="http://www.ros.org/wiki/xacro"><xacro:include/></robot>',
            "this is xacro",
        ),
        (f"<robot>{joint('a', 'a', 'b')}{joint('a', 'b', 'c')}</robot>", "not a tree"),
        (f"<robot>{joint('a', 'x', 'b')}{joint('c', 'y', 'b')}</robot>", "not a tree"),
        (f"<robot>{joint('a', 'x', 'y')}{joint('c', 'y', 'x')}</robot>", "is its own ancestor"),
        ("<robot><joint name='a' type='revolute'/></robot>", "has no child link"),
        (f"<robot>{joint('a', 'x', 'y', xyz='1 2')}</robot>", "xyz: expected 3 finite numbers"),
        (
            f"<robot>{joint('a', 'x', 'y', axis='1 2 nan')}</robot>",
            "xyz: expected 3 finite numbers",
        ),
        (
            f"<robot>{joint('a', 'x', 'y', inside=HIP.replace('30', 'x'))}</robot>",
            "effort: expected 1",
        ),
    ],
)
def test_a_file_that_is_no_urdf_is_one_line(tmp_path, text, words):
    path = tmp_path / "bad.urdf"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RobotSpecError, match=words):
        draft_from_urdf(path)


def test_a_chain_without_end_is_one_line(tmp_path):
    chain = (joint(f"j{i}", f"l{i}", f"l{i + 1}") for i in reversed(range(3000)))
    with pytest.raises(RobotSpecError, match=r"toy.urdf: its chains of joints are too long\.$"):
        draft_from_urdf(write(tmp_path, *chain))


def test_no_such_file_and_no_such_joint_are_refused(tmp_path):
    with pytest.raises(RobotSpecError, match="No such file"):
        draft_from_urdf(tmp_path / "none.urdf")
    with pytest.raises(RobotSpecError, match="there is no joint tail"):
        draft_from_urdf(write(tmp_path, *two_legs()), skip=["tail"])


def test_names_that_yaml_would_take_for_something_else_stay_names(tmp_path):
    names = ["no", "1", 'a"b: c', "Null"]
    joints = [
        joint(n.replace('"', "&quot;"), f"l{i}", f"l{i + 1}", inside=HIP)
        for i, n in enumerate(names)
    ]
    document = yaml.safe_load(spec_text(draft_from_urdf(write(tmp_path, *joints))))
    assert list(document["joints"]) == names
    assert list(document["legs"].values()) == [names]


def test_the_command_writes_a_draft_says_what_is_missing_and_overwrites_nothing(tmp_path):
    urdf, out = write(tmp_path, *two_legs()), tmp_path / "toy.yaml"
    words = ["robot", "import", str(urdf), "--out", str(out), "--skip", "l_knee"]
    done = CliRunner().invoke(hebb, words)
    assert done.exit_code == 0
    assert done.output.startswith(
        f"{out}: 3 joints; legs r (2), l_hip (1); mirrored 0\nnote: no mirror"
    )
    assert "'kp', 'kd'" in done.output
    assert "l_knee" not in yaml.safe_load(out.read_text(encoding="utf-8"))["joints"]
    again = CliRunner().invoke(hebb, words)
    assert isinstance(again.exception, RobotSpecError)
    assert "it already exists" in str(again.exception)


@pytest.mark.parametrize(
    ("out", "urdf"), [("toy.yaml", "models/toy.urdf"), ("specs/toy.yaml", "{}/models/toy.urdf")]
)
def test_a_draft_and_a_urdf_beside_or_below_it_can_be_moved_together(
    tmp_path, monkeypatch, out, urdf
):
    for name in ("models", "specs"):
        (tmp_path / name).mkdir()
    write(tmp_path / "models", *two_legs())
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(hebb, ["robot", "import", "models/toy.urdf", "--out", out])
    assert done.exit_code == 0
    document = yaml.safe_load((tmp_path / out).read_text(encoding="utf-8"))
    assert document["simulation"]["urdf"] == urdf.format(tmp_path)


MODELS = {"a1": 12, "mini_cheetah": 12}


@pytest.fixture(scope="module")
def models():
    pybullet_data = pytest.importorskip("pybullet_data")
    return Path(pybullet_data.getDataPath())


@pytest.mark.parametrize("name", MODELS)
def test_the_shipped_specs_agree_with_a_draft_of_their_models(models, name, tmp_path):
    """What people stated is taken from the shipped spec; the rest has to be what the draft says."""
    shipped = load_robot(name)
    draft = draft_from_urdf(models / f"{name}/{name}.urdf")
    document = yaml.safe_load(spec_text(draft))
    for i, joint_name in enumerate(shipped.joint_names):
        row = document["joints"][joint_name]
        for field in ("lower", "upper", "velocity", "torque", "default", "kp", "kd"):
            row.setdefault(field, float(getattr(shipped, field)[i]))
    document["joint_defaults"] = {"rotor_inertia": 0.01, "max_target_rate": 17.5}
    document["safety"] = {"safe_action": "damp", "max_tilt": 1.0, "max_reading_age": 0.1}
    document["simulation"].update(start_height=0.3, fall_height=0.1)
    spec = tmp_path / "filled.yaml"
    spec.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    robot = load_robot(spec)
    assert robot.joint_names == shipped.joint_names
    assert dict(robot.legs) == dict(shipped.legs)
    assert robot.mirror == shipped.mirror
    # The shipped limits are the model's, rounded inwards to two decimals; a1's torques are its motor's,
    # 33.5, where the model allows more.
    assert ((shipped.lower - robot.lower >= 0) & (shipped.lower - robot.lower < 0.01)).all()
    assert ((robot.upper - shipped.upper >= 0) & (robot.upper - shipped.upper < 0.01)).all()
    assert robot.velocity.tolist() == shipped.velocity.tolist()
    assert np.minimum(robot.torque, 33.5).tolist() == shipped.torque.tolist()
