"""What a robot spec has to state, and what a document still lacks."""

from __future__ import annotations

from collections.abc import Mapping

JOINT_FIELDS: Mapping[str, bool] = {
    "lower": True,
    "upper": True,
    "default": True,
    "velocity": False,
    "torque": False,
    "kp": False,
    "kd": False,
    "rotor_inertia": True,
    "max_target_rate": False,
}
"""Joint field in the YAML -> whether zero is allowed."""

PARTS: Mapping[str, tuple[str, ...]] = {
    "safety": ("safe_action", "max_tilt", "max_reading_age"),
    "simulation": ("start_height", "fall_height"),
}


def missing_fields(document: Mapping[str, object]) -> list[str]:
    """Return everything a spec still lacks, one line per part; a field without a value counts.

    Args:
        document: the parsed YAML; values of the wrong type are ignored.
    """
    lines = _lack(document, ("name", "joints", "legs", *PARTS))
    joints, defaults = document.get("joints"), joint_defaults(document)
    if isinstance(joints, dict) and isinstance(defaults, dict):
        lines += _lack_joints(
            {
                str(name): {**defaults, **own}
                for name, own in joints.items()
                if isinstance(own, dict)
            }
        )
    for part, fields in PARTS.items():
        node = document.get(part)
        if isinstance(node, dict):
            model = ("mjcf", "density") if "mjcf" in node else ("urdf",)
            needed = (*model, *fields) if part == "simulation" else fields
            lines += [f"{part}: {line}" for line in _lack(node, needed)]
    return lines


def joint_defaults(document: Mapping[str, object]) -> object:
    """Return the values for joints that do not state their own; empty if there are none."""
    defaults = document.get("joint_defaults")
    return {} if defaults is None else defaults


def _lack_joints(joints: Mapping[str, Mapping[str, object]]) -> list[str]:
    """Return a line for each set of joints that lack the same fields."""
    by_joints: dict[tuple[str, ...], list[str]] = {}
    for field in JOINT_FIELDS:
        those = tuple(name for name, values in joints.items() if values.get(field) is None)
        by_joints.setdefault(those, []).append(field)
    return [
        f"{_joints(those, len(joints))}: {_are_missing(fields)}"
        for those, fields in by_joints.items()
        if those
    ]


def _joints(those: tuple[str, ...], of: int) -> str:
    if len(those) == of > 1:
        return "every joint"
    return f"joint{'s' if len(those) > 1 else ''} {', '.join(map(repr, those))}"


def _lack(node: Mapping[str, object], fields: tuple[str, ...]) -> list[str]:
    lacking = [field for field in fields if node.get(field) is None]
    return [_are_missing(lacking)] if lacking else []


def _are_missing(fields: list[str]) -> str:
    return f"{', '.join(map(repr, fields))} {'is' if len(fields) == 1 else 'are'} missing"
