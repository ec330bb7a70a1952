"""Builds a robot in a PyBullet world and finds its joints by name."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pybullet
import pybullet_data

from hebb_controller.errors import RobotSpecError
from hebb_controller.robot import FloatArray, RobotSpec

from .mjcf import urdf_from_mjcf
from .urdf_model import urdf_to_load

# Where only the motor's rotor is left of a link, its inertia counts this many times: once is too
# little for mini_cheetah, whose thigh and rotor would shake each other at 200 Hz (see
# actuator.bound_used).
NOTHING_LEFT = 2.0


def load_model(
    robot: RobotSpec, client: int, *, visual: bool, shortened: Mapping[str, float]
) -> tuple[int, list[int]]:
    """Load a robot into the world; return (body, joint indices in the order of the spec).

    Fixed links are merged. The motors' rotor inertia is added to every moving link, about all axes, so
    the whole robot also resists turning more: without it, the lightest links make a PD controller
    at 200 Hz unstable.

    Args:
        robot: the robot.
        client: the physics client.
        visual: whether to load what only a camera sees.
        shortened: joint -> fraction left of the length of the link that it moves.

    Raises:
        RobotSpecError: there is no such model, it lacks a joint of the spec, a mass or a mesh, or
            it is MJCF that :mod:`.mjcf` does not support.
        DamageError: a link cannot be shortened.
    """
    flags = pybullet.URDF_MERGE_FIXED_LINKS
    if robot.simulation.inertials == "stated":
        flags |= pybullet.URDF_USE_INERTIA_FROM_FILE  # not that of bounding boxes, Bullet's default
    if not visual:
        flags |= pybullet.URDF_IGNORE_VISUAL_SHAPES
    with _quiet(), _model_file(robot, visual=visual, shortened=shortened) as path:
        try:
            body = pybullet.loadURDF(
                path,
                [0.0, 0.0, robot.simulation.start_height],
                flags=flags,
                physicsClientId=client,
            )
        except pybullet.error as error:
            raise RobotSpecError(
                f"robot '{robot.name}': {robot.simulation.model} cannot be read as a URDF."
            ) from error
    by_name = {}
    for index in range(pybullet.getNumJoints(body, physicsClientId=client)):
        by_name[pybullet.getJointInfo(body, index, physicsClientId=client)[1].decode()] = index
    missing = [name for name in robot.joint_names if name not in by_name]
    if missing:
        raise RobotSpecError(
            f"robot '{robot.name}': {robot.simulation.model} has no {', '.join(missing)}. "
            f"It has: {', '.join(by_name)}."
        )
    joints = [by_name[name] for name in robot.joint_names]
    pybullet.changeDynamics(body, -1, linearDamping=0.0, angularDamping=0.0, physicsClientId=client)
    for joint, rotor in zip(joints, rotor_inertia(robot, shortened).tolist(), strict=True):
        add_inertia(client, body, joint, rotor)
        pybullet.changeDynamics(
            body,
            joint,
            linearDamping=0.0,
            angularDamping=0.0,
            jointDamping=0.0,
            physicsClientId=client,
        )
    return body, joints


def model_path(robot: RobotSpec) -> Path:
    """Return where a robot's model file is.

    Raises:
        RobotSpecError: there is none.
    """
    path = Path(pybullet_data.getDataPath()) / robot.simulation.model
    if not path.is_file():
        raise RobotSpecError(
            f"robot '{robot.name}': there is no model {path}, nor one beside the spec. Give a path "
            f"relative to the spec, one in pybullet_data, or an absolute one."
        )
    return path


def rotor_inertia(robot: RobotSpec, shortened: Mapping[str, float]) -> FloatArray:
    """Return the inertia that :func:`load_model` adds to the link of each joint, (n,) kg·m²."""
    gone = [shortened.get(name) == 0.0 for name in robot.joint_names]
    return np.where(gone, NOTHING_LEFT, 1.0) * robot.rotor_inertia


def add_inertia(client: int, body: int, link: int, inertia: float) -> None:
    """Add inertia to a link about all its axes, kg·m²."""
    own = pybullet.getDynamicsInfo(body, link, physicsClientId=client)[2]
    pybullet.changeDynamics(
        body,
        link,
        localInertiaDiagonal=[value + inertia for value in own],
        physicsClientId=client,
    )


@contextlib.contextmanager
def _model_file(robot: RobotSpec, *, visual: bool, shortened: Mapping[str, float]) -> Iterator[str]:
    path = model_path(robot)
    density = robot.simulation.density
    text = (
        urdf_to_load(
            path,
            visual=visual,
            shortened=shortened,
            merge=robot.simulation.inertials == "stated",
        )
        if density is None
        else urdf_from_mjcf(path, density=density, shortened=shortened)
    )
    if text is None:
        yield str(path)
        return
    with tempfile.TemporaryDirectory() as directory:
        made = Path(directory) / "made.urdf"
        made.write_text(text, encoding="utf-8")
        yield str(made)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    # Merging links prints a line for each from C, which would end up in --json output. C buffers
    # what it prints to a pipe, so its buffer must be flushed on the right side of the switch.
    sys.stdout.flush()
    c_library = ctypes.CDLL(None)
    c_library.fflush(None)
    kept = os.dup(1)
    sink = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(sink, 1)
        yield
    finally:
        c_library.fflush(None)
        os.dup2(kept, 1)
        os.close(kept)
        os.close(sink)
