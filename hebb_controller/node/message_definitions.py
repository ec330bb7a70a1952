"""Texts of message definitions, stored in a recording so that it can be read without ROS."""

from __future__ import annotations

import re
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory

from ..errors import RecordingError

SEPARATOR = "=" * 80
# A field or a constant begins with its type; the name of a message begins with a capital.
FIELD = re.compile(r"^\s*(?:([a-z][a-z0-9_]*)/)?(?:msg/)?([A-Z]\w*)\S*\s+\w+", re.MULTILINE)


def definition(kind: str) -> str:
    """Return the text of a message definition, followed by those of all messages in it.

    Args:
        kind: message type, such as ``std_msgs/msg/Header``.

    Raises:
        RecordingError: a package or a message is not installed.
    """
    package, _, name = kind.split("/")
    main = _text(package, name)
    found: dict[str, str] = {}
    waiting = _inside(package, main)
    while waiting:
        package, name = waiting.pop(0)
        if f"{package}/{name}" not in found:
            found[f"{package}/{name}"] = text = _text(package, name)
            waiting += _inside(package, text)
    return "".join([main, *(f"\n{SEPARATOR}\nMSG: {name}\n{text}" for name, text in found.items())])


def _text(package: str, name: str) -> str:
    try:
        path = Path(get_package_share_directory(package)) / "msg" / f"{name}.msg"
        return path.read_text(encoding="utf-8")
    except (PackageNotFoundError, OSError) as error:
        raise RecordingError(
            f"the definition of {package}/msg/{name} is not installed. "
            f"Fix: install the ROS package {package}."
        ) from error


def _inside(package: str, text: str) -> list[tuple[str, str]]:
    """Return package and name of each message that is a field of a definition."""
    return [(other or package, name) for other, name in FIELD.findall(text)]
