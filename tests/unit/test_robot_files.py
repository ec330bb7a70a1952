"""Robot specs in files: where they are looked for, and what is no spec at all."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from toys import toy_document, toy_robot

from hebb_controller.errors import HebbError, RobotSpecError
from hebb_controller.robot import available_robots, load_robot, load_shipped_robot
from hebb_controller.share import shipped
from hebb_controller.spec_completeness import JOINT_FIELDS


def test_an_unknown_robot_is_refused_with_the_shipped_ones():
    with pytest.raises(RobotSpecError, match=r"robot 'a2': no such spec. Shipped: .*a1"):
        load_robot("a2")


def test_a_spec_in_a_file_is_the_spec_in_the_document(robot_file):
    one, other = load_robot(robot_file), toy_robot()
    assert one.joint_names == other.joint_names
    for field in JOINT_FIELDS:
        assert np.array_equal(getattr(one, field), getattr(other, field))


def test_a_model_beside_the_spec_goes_before_one_of_the_simulator(tmp_path):
    document = toy_document()
    document["simulation"]["urdf"] = "models/toy.urdf"
    spec = tmp_path / "toy.yaml"
    spec.write_text(yaml.safe_dump(document), encoding="utf-8")
    assert load_robot(spec).simulation.model == "models/toy.urdf"
    model = tmp_path / "models" / "toy.urdf"
    model.parent.mkdir()
    model.touch()
    assert load_robot(spec).simulation.model == str(model)
    document["simulation"]["urdf"] = 300 * "x"
    spec.write_text(yaml.safe_dump(document), encoding="utf-8")
    assert load_robot(spec).simulation.model == 300 * "x"


@pytest.mark.parametrize("name", available_robots())
def test_the_models_of_shipped_robots_are_those_of_the_simulator(name):
    assert not Path(load_robot(name).simulation.model).is_absolute()


@pytest.mark.parametrize(
    "text",
    [
        "joints: [",
        "[" * 1_500,
        "name: 2001-99-99",
        'name: !!int "x"',
        'name: !!int ""',
        "name: !!timestamp x",
        "name: !!bool x",
        "name: " + "1" * 5_000,
        "? [1]\n: 2",
        "\x00",
        "",
    ],
    ids=lambda text: text[:20],
)
def test_a_file_that_is_no_yaml_mapping_is_one_clear_error(tmp_path, text):
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RobotSpecError, match=r"bad\.yaml") as caught:
        load_robot(path)
    assert isinstance(caught.value, HebbError)
    assert "\n" not in str(caught.value)


def test_a_file_in_another_encoding_is_one_clear_error(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_bytes("name: Käfer".encode("latin-1"))
    with pytest.raises(RobotSpecError, match="not readable as YAML"):
        load_robot(path)


def test_a_limit_that_stands_twice_is_refused(tmp_path):
    text = shipped("config", "robots", "a1.yaml").read_text(encoding="utf-8")
    twice = text.replace("lower: -0.80, ", "lower: -0.80, lower: -9.0, ", 1)
    assert twice != text
    path = tmp_path / "twice.yaml"
    path.write_text(twice, encoding="utf-8")
    with pytest.raises(RobotSpecError, match="duplicate key 'lower'"):
        load_robot(path)


def test_aliases_are_refused_whatever_they_would_grow_into(tmp_path):
    lines = ["a0: &a0 [x, x]", *(f"a{k}: &a{k} [*a{k - 1}, *a{k - 1}]" for k in range(1, 40))]
    path = tmp_path / "bomb.yaml"
    path.write_text("\n".join([*lines, "name: *a39"]), encoding="utf-8")
    with pytest.raises(RobotSpecError, match=r"'\*a0' is an alias; write out .* line 2") as caught:
        load_robot(path)
    assert "\n" not in str(caught.value)


def test_a_name_in_a_rule_file_is_no_path(tmp_path, robot_file):
    assert load_shipped_robot("a1").name == "a1"
    for name in (robot_file, "toy", "../robots/a1", 10_000 * "x"):
        with pytest.raises(
            RobotSpecError, match=r"no spec of that name ships. Shipped: .*a1"
        ) as told:
            load_shipped_robot(name)
        assert len(str(told.value)) < 300
