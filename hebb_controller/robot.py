"""What a robot is: joints in order, limits, gains, default pose, and what it does when blind.

A spec is a YAML file (``config/robots/a1.yaml`` is the example to copy). Nothing that protects the
robot or drives its motors has a default: a missing limit is an error. Only ``mirror`` (no left and
right), ``imu`` (mounted straight), ``joint_velocity`` (measured) and ``simulation:
solver_iterations`` (5) may be left out.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import yaml

from .errors import RobotSpecError
from .plain_yaml import PlainLoader
from .rotation import IDENTITY, Quaternion, from_rpy
from .share import share_dir
from .spec_completeness import JOINT_FIELDS, PARTS, joint_defaults, missing_fields
from .spec_fields import MAX_NAME, as_mapping, as_name, as_number, as_positive, check_known, needed

FloatArray = npt.NDArray[np.float64]

SAFE_ACTIONS = ("damp", "hold")
BODY_PARTS = ("motors", "sensors", "imu", "trunk", "ground")
"""What may be damaged besides legs and joints; ``motors`` means all joints."""
VELOCITY_SOURCES = ("measured", "estimated")
INERTIALS = ("stated", "pybullet")

_SIGNED = ("lower", "upper", "default")

# What PyYAML lets escape when a value does not fit its tag, e.g. `!!int x` or the date 2001-99-99.
_YAML_VALUE_ERRORS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


@dataclass(frozen=True)
class SafetySpec:
    """What protects this robot.

    Attributes:
        safe_action: what to command when the sensors cannot be trusted: ``damp`` (zero position
            gain) or ``hold`` (repeat the last target).
        max_tilt: largest angle between the body's z axis and the vertical, rad.
        max_reading_age: a reading older than this is stale, s.
    """

    safe_action: str
    max_tilt: float
    max_reading_age: float


@dataclass(frozen=True)
class SimulationSpec:
    """How the simulator builds this robot.

    Attributes:
        model: model file, an absolute path or one in the simulator's data directory; in the YAML it is
            ``urdf`` or ``mjcf`` and may be relative to the spec file.
        start_height: height of the base at the start of an episode, m.
        fall_height: a base below this height has fallen, m.
        density: density of every shape of an MJCF model, kg/m³, whatever the model says, since
            simulators disagree about that; None for a URDF, which states its masses.
        solver_iterations: contact solver iterations per physics step, 5 unless the YAML says otherwise;
            with too few, a robot with heavy legs creeps while it stands.
        inertials: what the links weigh and how hard they are to turn: ``stated``, as the model says, or
            ``pybullet``, as PyBullet takes it to be (docs/robots.md).
    """

    model: str
    start_height: float
    fall_height: float
    density: float | None = None
    solver_iterations: int = 5
    inertials: str = "stated"


@dataclass(frozen=True)
class RobotSpec:
    """A robot: every vector is in the order of ``joint_names``, shape (n,), SI units, radians.

    Attributes:
        name: the robot's name, e.g. ``a1``.
        joint_names: n unique names, the order of every joint vector in this project.
        lower, upper: limits of joint position, rad.
        default: the pose in which a run starts, rad.
        velocity: largest joint velocity, rad/s, for the record: nothing limits or checks it.
        torque: largest joint torque, N·m.
        kp, kd: gains of the joint controller, N·m/rad and N·m·s/rad.
        rotor_inertia: motor inertia as seen at the joint, kg·m²; the simulator adds it to the link that
            the joint moves, about all axes.
        max_target_rate: how fast a position target may move, rad/s.
        legs: leg name -> indices into ``joint_names``.
        safety: what protects the robot.
        simulation: how the simulator builds it.
        mirror: each joint's mirror image, as indices and signs of rotation, each (n,); None for a
            robot that has no left and right.
        imu_rotation: how the IMU is mounted: rotates vectors from its frame into the body's, xyzw;
            the identity unless the YAML says otherwise.
        velocity_cutoff: cutoff of the low-pass that estimates joint velocities from positions
            (:mod:`.velocity_filter`), Hz; None if they are measured, as they are unless the YAML
            says otherwise.
    """

    name: str
    joint_names: tuple[str, ...]
    lower: FloatArray
    upper: FloatArray
    default: FloatArray
    velocity: FloatArray
    torque: FloatArray
    kp: FloatArray
    kd: FloatArray
    rotor_inertia: FloatArray
    max_target_rate: FloatArray
    legs: Mapping[str, tuple[int, ...]]
    safety: SafetySpec
    simulation: SimulationSpec
    mirror: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    imu_rotation: Quaternion = IDENTITY
    velocity_cutoff: float | None = None

    @property
    def n_joints(self) -> int:
        """Number of joints."""
        return len(self.joint_names)


def available_robots() -> list[str]:
    """Return the names of the robot specs that ship with the package."""
    return sorted(p.stem for p in (share_dir() / "config" / "robots").glob("*.yaml"))


def load_robot(name_or_path: str | Path) -> RobotSpec:
    """Return the robot spec with a shipped name (``a1``) or in a YAML file.

    Raises:
        RobotSpecError: no such robot, or the file is unreadable, incomplete or inconsistent.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = share_dir() / "config" / "robots" / f"{name_or_path}.yaml"
    if not path.is_file():
        raise RobotSpecError(
            f"robot '{name_or_path}': no such spec. "
            f"Shipped: {', '.join(available_robots())}; or give the path of a .yaml file."
        )
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), PlainLoader)  # noqa: S506 - safe
    except (yaml.YAMLError, OSError, RecursionError, *_YAML_VALUE_ERRORS) as error:
        raise RobotSpecError(
            f"{path}: not readable as YAML: {' '.join(str(error).split())}"
        ) from error
    return parse_robot(document, where=str(path), directory=path.parent)


def load_shipped_robot(name: str) -> RobotSpec:
    """Return the shipped spec of the robot that a rule file names: it is no path.

    Raises:
        RobotSpecError: there is none.
    """
    if name not in available_robots():
        raise RobotSpecError(
            f"robot '{name[:MAX_NAME]}': no spec of that name ships. "
            f"Shipped: {', '.join(available_robots())}."
        )
    return load_robot(name)


def parse_robot(document: object, *, where: str, directory: Path | None = None) -> RobotSpec:
    """Return the spec in a parsed YAML document.

    Args:
        document: the document.
        where: prefix of error messages.
        directory: where the model is looked for first; None if the document is not from a file.

    Raises:
        RobotSpecError: a field is missing, unknown or inconsistent; the message names it.
    """
    top = as_mapping(document, where)
    known = ("name", "joint_defaults", "joints", "legs", "mirror", "imu", "joint_velocity")
    check_known(top, (*known, "safety", "simulation"), where)
    if lacking := missing_fields(top):
        raise RobotSpecError(f"{where}: {'; '.join(lacking)}. Nothing has a default: state it.")
    joints = as_mapping(needed(top, "joints", where), f"{where}: joints")
    defaults = as_mapping(joint_defaults(top), f"{where}: joint_defaults")
    check_known(defaults, tuple(JOINT_FIELDS), f"{where}: joint_defaults")
    if not joints:
        raise RobotSpecError(f"{where}: joints: none are listed.")
    columns: dict[str, list[float]] = {field: [] for field in JOINT_FIELDS}
    for joint, own in joints.items():
        place = f"{where}: joint '{joint}'"
        values = {**defaults, **as_mapping(own, place)}
        check_known(values, tuple(JOINT_FIELDS), place)
        for field, zero in JOINT_FIELDS.items():
            number = as_number(needed(values, field, place), f"{place}: {field}")
            if field not in _SIGNED and (number < 0 or (number == 0 and not zero)):
                raise RobotSpecError(f"{place}: {field} is {number:g}; it must be positive.")
            columns[field].append(number)
        if not columns["lower"][-1] < columns["upper"][-1]:
            raise RobotSpecError(f"{place}: lower must be below upper.")
        if not columns["lower"][-1] <= columns["default"][-1] <= columns["upper"][-1]:
            raise RobotSpecError(f"{place}: default is outside lower … upper.")
    arrays = {field: _frozen(values) for field, values in columns.items()}
    names = tuple(as_name(joint, f"{where}: joints") for joint in joints)
    return RobotSpec(
        name=as_name(needed(top, "name", where), f"{where}: name"),
        joint_names=names,
        legs=_legs(needed(top, "legs", where), names, f"{where}: legs"),
        safety=_safety(needed(top, "safety", where), f"{where}: safety"),
        simulation=_simulation(needed(top, "simulation", where), f"{where}: simulation", directory),
        mirror=_mirror(top["mirror"], names, arrays, f"{where}: mirror")
        if "mirror" in top
        else None,
        imu_rotation=_imu(top["imu"], f"{where}: imu") if "imu" in top else IDENTITY,
        velocity_cutoff=_velocity_cutoff(top["joint_velocity"], f"{where}: joint_velocity")
        if "joint_velocity" in top
        else None,
        **arrays,
    )


def _legs(node: object, joint_names: tuple[str, ...], where: str) -> Mapping[str, tuple[int, ...]]:
    legs: dict[str, tuple[int, ...]] = {}
    for leg, members in as_mapping(node, where).items():
        if as_name(leg, where) in (*joint_names, *BODY_PARTS):
            raise RobotSpecError(
                f"{where}: '{leg}' is the name of something else. Call it otherwise."
            )
        if not isinstance(members, list) or not members:
            raise RobotSpecError(f"{where}: '{leg}' must be a list of joints.")
        unknown = [str(m) for m in members if m not in joint_names]
        if unknown:
            raise RobotSpecError(f"{where}: '{leg}' names unknown joints: {', '.join(unknown)}.")
        for member in members:
            if members.count(member) > 1:
                raise RobotSpecError(f"{where}: '{leg}' names '{member}' twice.")
            for other, theirs in legs.items():
                if joint_names.index(member) in theirs:
                    raise RobotSpecError(f"{where}: '{member}' is in '{other}' and in '{leg}'.")
        legs[leg] = tuple(joint_names.index(m) for m in members)
    return MappingProxyType(legs)


def _mirror(
    node: object, names: tuple[str, ...], arrays: Mapping[str, FloatArray], where: str
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return targets and signs from ``right joint: left joint``; ``-left joint`` turns the other way."""
    target = list(range(len(names)))
    sign = [0] * len(names)
    for right, value in as_mapping(node, where).items():
        left = str(value).removeprefix("-")
        turns = -1 if str(value).startswith("-") else 1
        for name in (str(right), left):
            if name not in names:
                raise RobotSpecError(f"{where}: the robot has no joint '{name}'.")
            if sign[names.index(name)]:
                raise RobotSpecError(f"{where}: '{name}' is listed twice.")
        a, b = names.index(str(right)), names.index(left)
        target[a], target[b] = b, a
        sign[a] = sign[b] = turns
        limits = (arrays["lower"][a], arrays["default"][a], arrays["upper"][a])
        image = (arrays["lower"][b], arrays["default"][b], arrays["upper"][b])
        if limits != (image if turns > 0 else tuple(-x for x in reversed(image))):
            raise RobotSpecError(
                f"{where}: '{right}' and '{value}' are declared mirror images, but their limits or defaults differ."
            )
    missing = [name for name, seen in zip(names, sign, strict=True) if not seen]
    if missing:
        raise RobotSpecError(f"{where}: no entry for {', '.join(missing)}.")
    return tuple(target), tuple(sign)


def _imu(node: object, where: str) -> Quaternion:
    fields = as_mapping(node, where)
    check_known(fields, ("rotation",), where)
    angles = needed(fields, "rotation", where)
    place = f"{where}: rotation"
    if not isinstance(angles, list) or len(angles) != 3:
        raise RobotSpecError(f"{place}: expected [roll, pitch, yaw], rad.")
    roll, pitch, yaw = (as_number(angle, place) for angle in angles)
    if max(abs(roll), abs(pitch), abs(yaw)) > 2.0 * math.pi:
        raise RobotSpecError(f"{place}: an angle is beyond ±2 pi. Give radians.")
    return from_rpy(roll, pitch, yaw)


def _velocity_cutoff(node: object, where: str) -> float | None:
    fields = as_mapping(node, where)
    source = str(needed(fields, "source", where))
    if source not in VELOCITY_SOURCES:
        raise RobotSpecError(
            f"{where}: source '{source}' is unknown. Known: {', '.join(VELOCITY_SOURCES)}."
        )
    if source == "measured":
        check_known(fields, ("source",), where)
        return None
    check_known(fields, ("source", "cutoff"), where)
    return as_positive(needed(fields, "cutoff", where), f"{where}: cutoff")


def _safety(node: object, where: str) -> SafetySpec:
    fields = as_mapping(node, where)
    check_known(fields, PARTS["safety"], where)
    action = str(needed(fields, "safe_action", where))
    if action not in SAFE_ACTIONS:
        raise RobotSpecError(
            f"{where}: safe_action '{action}' is unknown. Known: {', '.join(SAFE_ACTIONS)}."
        )
    tilt = as_positive(needed(fields, "max_tilt", where), f"{where}: max_tilt")
    if tilt >= math.pi:
        raise RobotSpecError(f"{where}: max_tilt must be below pi rad, or it limits nothing.")
    age = as_positive(needed(fields, "max_reading_age", where), f"{where}: max_reading_age")
    return SafetySpec(safe_action=action, max_tilt=tilt, max_reading_age=age)


def _simulation(node: object, where: str, directory: Path | None) -> SimulationSpec:
    fields = as_mapping(node, where)
    density = None
    model = "mjcf" if "mjcf" in fields else "urdf"
    only = "density" if model == "mjcf" else "inertials"
    check_known(fields, (model, only, "start_height", "fall_height", "solver_iterations"), where)
    if model == "mjcf":
        density = as_positive(needed(fields, "density", where), f"{where}: density")
    inertials = str(fields.get("inertials", SimulationSpec.inertials))
    if inertials not in INERTIALS:
        raise RobotSpecError(
            f"{where}: inertials '{inertials}' are unknown. Known: {', '.join(INERTIALS)}."
        )
    iterations = fields.get("solver_iterations", SimulationSpec.solver_iterations)
    place = f"{where}: solver_iterations"
    if as_positive(iterations, place) not in range(1, 1001):
        raise RobotSpecError(f"{place} is {iterations}; it must be a whole number from 1 to 1000.")
    start, fall = (
        as_positive(needed(fields, key, where), f"{where}: {key}")
        for key in ("start_height", "fall_height")
    )
    if fall >= start:
        raise RobotSpecError(
            f"{where}: fall_height is {fall:g}; it must be below start_height, {start:g}."
        )
    return SimulationSpec(
        model=_model(str(needed(fields, model, where)), directory),
        density=density,
        inertials=inertials,
        solver_iterations=int(as_number(iterations, place)),
        start_height=start,
        fall_height=fall,
    )


def _model(name: str, directory: Path | None) -> str:
    """Return the absolute path of a model that is in or below a directory, else its name."""
    with contextlib.suppress(OSError):  # the name may be too long for a file
        if directory is not None and (directory / name).is_file():
            return str((directory / name).resolve())
    return name


def _frozen(values: list[float]) -> FloatArray:
    array = np.array(values, dtype=np.float64)
    array.setflags(write=False)
    return array
