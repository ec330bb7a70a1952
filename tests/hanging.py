"""A robot that hangs: the a1 model with an immovable trunk, high above the ground."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pybullet_data
import yaml

from hebb_controller.share import shipped

STOPS = "motors:narrowed:0.98"
"""Damage that gives the simulated joints stops like those of a real robot."""


def hanging_a1(directory: Path, *, max_reading_age: float) -> Path:
    """Return the path of the spec of an a1 with a massless trunk, which PyBullet holds in place.

    Args:
        directory: where the files go.
        max_reading_age: value in its spec, s.
    """
    models = Path(pybullet_data.getDataPath())
    tree = ET.parse(models / "a1" / "a1.urdf")  # noqa: S314 - the simulator's own model
    for link in tree.getroot().findall("link"):
        if link.get("name") in {"trunk", "imu_link"}:
            for mass in link.iter("mass"):
                mass.set("value", "0")
    for mesh in tree.getroot().iter("mesh"):
        mesh.set("filename", str(models / "a1" / str(mesh.get("filename"))))
    model = directory / "hanging.urdf"
    tree.write(model)
    spec = yaml.safe_load(shipped("config", "robots", "a1.yaml").read_text(encoding="utf-8"))
    spec["simulation"].update(urdf=str(model), start_height=1.0)
    spec["safety"]["max_reading_age"] = max_reading_age
    path = directory / "hanging.yaml"
    path.write_text(yaml.safe_dump(spec, sort_keys=False), encoding="utf-8")
    return path
