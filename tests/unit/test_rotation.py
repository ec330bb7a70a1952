"""Quaternions against scipy's rotations."""

import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from toys import UPRIGHT

from hebb_controller.rotation import (
    IDENTITY,
    from_rpy,
    inverse,
    matrix_from_rpy,
    multiply,
    projected_gravity,
    quaternion,
    rotate,
    wrap_angle,
    yaw,
)

# Each value is a sum of a few products of parts of unit quaternions, once here and once in scipy.
ROUNDING = 20 * 2.0**-52


def rotations(seed):
    return Rotation.random(100, rng=np.random.default_rng(seed))


def test_a_product_is_the_second_rotation_followed_by_the_first():
    for a, b in zip(rotations(0), rotations(1), strict=True):
        found = multiply(quaternion(a.as_quat().tolist()), quaternion(b.as_quat().tolist()))
        expected = (a * b).as_quat()
        assert min(np.abs(found - expected).max(), np.abs(found + expected).max()) <= ROUNDING


def test_a_vector_is_turned_and_turned_back():
    vectors = np.random.default_rng(2).uniform(-1.0, 1.0, (100, 3))
    for rotation, vector in zip(rotations(3), vectors, strict=True):
        q = quaternion(rotation.as_quat().tolist())
        turned = rotate(q, vector.tolist())
        assert np.abs(turned - rotation.apply(vector)).max() <= ROUNDING
        back = rotate(inverse(q), vector.tolist())
        assert np.abs(back - rotation.inv().apply(vector)).max() <= ROUNDING


def test_roll_pitch_and_yaw_are_about_fixed_axes_as_in_a_urdf():
    for angles in np.random.default_rng(4).uniform(-math.pi, math.pi, (100, 3)):
        expected = Rotation.from_euler("xyz", angles)  # lower case: fixed axes
        q = np.array(from_rpy(*angles.tolist()))
        found = Rotation.from_quat(q)
        assert (found * expected.inv()).magnitude() <= ROUNDING
        assert abs(q @ q - 1.0) <= ROUNDING


def test_rpy_by_hand():
    # turned to the left by 90°: the device's x axis points to the body's left
    assert rotate(from_rpy(0.0, 0.0, math.pi / 2), (1.0, 0.0, 0.0)) == pytest.approx(
        (0.0, 1.0, 0.0), abs=ROUNDING
    )
    # first rolled onto its left side, then turned: its z axis, to the right after the roll, points ahead
    assert rotate(from_rpy(math.pi / 2, 0.0, math.pi / 2), (0.0, 0.0, 1.0)) == pytest.approx(
        (1.0, 0.0, 0.0), abs=ROUNDING
    )


def test_no_rotation_changes_no_bit():
    for rotation, vector in zip(rotations(5), rotations(6).as_rotvec(), strict=True):
        q = quaternion(rotation.as_quat().tolist())
        assert multiply(q, IDENTITY) == q
        assert rotate(IDENTITY, vector.tolist()) == tuple(vector.tolist())
    assert from_rpy(0.0, 0.0, 0.0) == IDENTITY


def test_the_matrix_of_roll_pitch_and_yaw_is_that_of_the_same_turns():
    for angles in np.random.default_rng(7).uniform(-math.pi, math.pi, (100, 3)):
        expected = Rotation.from_euler("xyz", angles).as_matrix()
        assert np.abs(np.array(matrix_from_rpy(*angles.tolist())) - expected).max() <= ROUNDING


def test_gravity_points_down_in_the_body():
    assert projected_gravity(np.array(UPRIGHT)) == (0.0, 0.0, -1.0)
    for rotation in Rotation.random(200, rng=np.random.default_rng(0)):
        expected = rotation.inv().apply([0.0, 0.0, -1.0])
        found = projected_gravity(rotation.as_quat())
        assert np.abs(np.array(found) - expected).max() <= ROUNDING


def test_gravity_by_hand():
    half = math.sqrt(0.5)
    # nose down by 90° (about y): the body's x axis points down, so gravity lies along +x
    assert projected_gravity(np.array([0.0, half, 0.0, half])) == pytest.approx(
        (1.0, 0.0, 0.0), abs=ROUNDING
    )
    # rolled to the right by 90° (about x): the body's y axis (left) points up, gravity along −y
    assert projected_gravity(np.array([half, 0.0, 0.0, half])) == pytest.approx(
        (0.0, -1.0, 0.0), abs=ROUNDING
    )


def test_yaw_is_the_first_of_the_turns_about_z_then_y_then_x():
    for rotation in Rotation.random(200, rng=np.random.default_rng(0)):
        expected, pitch, _ = rotation.as_euler("ZYX")
        # At the poles yaw is undefined; near them rounding is stretched by 1/cos(pitch).
        found = yaw(rotation.as_quat())
        assert abs(wrap_angle(found - expected)) <= ROUNDING * 10 / math.cos(pitch) ** 2


@pytest.mark.parametrize(
    ("angle", "wrapped"),
    [
        (0.0, 0.0),
        (math.pi + 0.5, 0.5 - math.pi),
        (-math.pi - 0.5, math.pi - 0.5),
        (3.0 * math.pi, -math.pi),
        (7.0, 7.0 - 2.0 * math.pi),
    ],
)
def test_angles_wrap_to_one_turn(angle, wrapped):
    assert wrap_angle(angle) == pytest.approx(wrapped, abs=1e-14)
