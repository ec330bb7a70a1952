"""The ``hebb`` command: the only package that imports both training and the simulator.

Commands import what they need when they run, so that ``hebb --help`` and ``hebb verify`` work, and
start quickly, without the optional extras.
"""

from __future__ import annotations

import errno
import os
import sys

import click

from .. import __version__
from ..errors import HebbError, MissingExtraError
from .bench import bench
from .demo import demo
from .diff import diff
from .doctor import doctor
from .evaluate import evaluate
from .export import export
from .inspect import inspect
from .replay import replay
from .robot import robot
from .say import say
from .sign import sign
from .train import train
from .verify import verify

# Module that failed to import -> its distribution and extra.
_EXTRAS = {
    "pybullet": ("pybullet", "sim"),
    "pybullet_data": ("pybullet", "sim"),
    "torch": ("torch", "train"),
    "scipy": ("scipy", "train"),
    "tqdm": ("tqdm", "train"),
    "matplotlib": ("matplotlib", "plot"),
    "PIL": ("pillow", "plot"),
    "cryptography": ("cryptography", "sign"),
    "onnx": ("onnx", "onnx"),
    "onnxruntime": ("onnxruntime", "onnx"),
    "rclpy": ("rclpy", "ros"),
    "numba": ("numba", "bench"),
    "ray": ("ray", "ray"),
    "tensorboard": ("tensorboard", "tensorboard"),
    "mcap": ("mcap", "record"),
    "mcap_ros2": ("mcap-ros2-support", "record"),
}


class _Interruptible(click.Group):
    """Exits with 130 on Ctrl-C; click's own exit code for it, 1, means failure here."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, click.Abort):
            say("Stopped.")
            ctx.exit(130)


@click.group(cls=_Interruptible, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def hebb() -> None:
    """Evolve, check and run controllers that rewire themselves."""


for command in (
    *(train, evaluate, inspect, verify, export, diff, replay, sign, bench, demo),
    *(robot, doctor),
):
    hebb.add_command(command)


def main() -> None:
    """Run the command line.

    Exit codes: 0 done; 1 two things differ, a robot check failed, or there is a bug here; 2 bad input,
    including a rule that does not pass ``hebb verify``; 130 interrupted.
    """
    try:
        try:
            hebb()
        except ModuleNotFoundError as error:
            root = (error.name or "").partition(".")[0]
            if root not in _EXTRAS:
                raise
            raise MissingExtraError(*_EXTRAS[root]) from error
    except HebbError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    except OSError as error:
        if error.filename is None and error.errno != errno.ENOSPC:
            raise
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"error: {where}{error.strerror}.", err=True)
        if not error.filename:  # what standard output still holds would fail again at the exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(2)
