"""Quaternions against scipy's rotations."""

import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from hebb_controller.rotation import IDENTITY, from_rpy, inverse, multiply, quaternion, rotate

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
