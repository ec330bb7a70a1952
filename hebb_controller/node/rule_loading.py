"""From a path to a controller ready to run; a swap's file is validated in a child process first."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from rclpy.logging import get_logger

from ..contract import check_contract
from ..controller import Controller, interface_for
from ..errors import ParameterError, RuleFileError
from ..robot import RobotSpec, load_robot
from ..rule_file import load_rule
from ..runtime import make_runtime
from ..signature import Trust
from .output import check_output
from .parameters import Settings
from .rates import divide
from .values import Loaded

VALIDATION_TIMEOUT = (
    60.0  # s; it yields to everything else, so its one second grows on busy processors
)
VALIDATION_NICENESS = 5  # above the node's own: the robot comes first where processors are busy
# As `python -m hebb_controller.cli`, but without importing from the working directory first.
VALIDATOR = (
    "import sys; sys.path = [*filter(None, sys.path)]; from hebb_controller.cli import main; main()"
)
WARM_UP_TICKS = 3
LOGGER = "controller_node"


def robot_for(settings: Settings) -> RobotSpec:
    """Return the robot spec with the node's sensor timeout in place of its own.

    Raises:
        RobotSpecError: there is no such robot.
        ParameterError: the sensor timeout exceeds what the robot allows, or the type of the commands
            cannot express its safe action.
    """
    robot = load_robot(settings.robot)
    if settings.sensor_timeout > robot.safety.max_reading_age:
        raise ParameterError(
            f"sensor_timeout is {settings.sensor_timeout:g} s; robot '{robot.name}' allows "
            f"{robot.safety.max_reading_age:g} s (its max_reading_age). Set a smaller one."
        )
    check_output(settings, robot)
    safety = replace(robot.safety, max_reading_age=settings.sensor_timeout)
    return replace(robot, safety=safety)


def trust_for(settings: Settings) -> Trust:
    """Return whose rule files are trusted; warnings go to the node's log."""
    keys = (Path(settings.trusted_key).resolve(),) if settings.trusted_key else ()
    return Trust(settings.signature_policy, keys, warn=get_logger(LOGGER).warning)


def load(path: Path, robot: RobotSpec, trust: Trust, *, runtime: str = "numpy") -> Loaded:
    """Return a controller for a rule file, warmed up.

    Raises:
        SignatureError: it is not signed as required.
        RuleFileError: the file cannot be used.
        ContractError: the rule does not fit this robot.
        MissingExtraError: the runtime is not installed.
    """
    rule = load_rule(path, trust=trust)
    check_contract(rule.header.contract, robot, where=str(path))
    controller = Controller(robot, interface_for(rule, robot), make_runtime(runtime, rule))
    controller.reset(np.random.default_rng(0))
    for _ in range(WARM_UP_TICKS):
        controller.runtime.step(controller.last_observation)
    return Loaded(controller, rule, str(path), asked=str(path))


def first_rule(settings: Settings, robot: RobotSpec) -> Loaded:
    """Return the controller that a node is configured with.

    Raises:
        HebbError: the rule cannot be loaded, or does not fit the robot or ``command_rate``.
    """
    absolute = Path(settings.rule_file).is_absolute()  # it may lie anywhere
    path = inside(settings.rule_file, "" if absolute else settings.rule_dir)
    trust = trust_for(settings)
    loaded = load(path, robot, trust, runtime=settings.runtime)
    divide(loaded.rule.header.tick_period, settings.command_rate)
    loaded.controller.runtime.plasticity_gain = settings.plasticity_gain
    return replace(loaded, asked=settings.rule_file)


def load_for_swap(
    rule_file: str,
    settings: Settings,
    robot: RobotSpec,
    *,
    cancelled: Callable[[], bool],
    command_rate: float = 0.0,
) -> Loaded:
    """Return a controller for a file to swap in, validated in a child process.

    Args:
        rule_file: as it was asked for.
        settings: of the node.
        robot: the robot.
        cancelled: polled for whether to give up.
        command_rate: rate of the loop, Hz; 0 for any.

    Raises:
        ParameterError: the rule's period does not fit the command rate.
        SignatureError: it is not signed as required.
        RuleFileError: the file cannot be used, or lies outside ``rule_dir``.
        ContractError: the rule does not fit this robot.
    """
    path = inside(rule_file, settings.rule_dir)
    trust = trust_for(settings)
    sha256 = validate_rule_in_child(path, settings.robot, trust, cancelled=cancelled)
    loaded = load(path, robot, trust, runtime=settings.runtime)
    if loaded.sha256 != sha256:
        raise RuleFileError(f"{path}: was changed while it was being validated. Set it again.")
    divide(loaded.rule.header.tick_period, command_rate)
    return replace(loaded, asked=rule_file)


def inside(rule_file: str, rule_dir: str) -> Path:
    """Return the real path of a rule file, which must be inside a directory, if one is given.

    Raises:
        RuleFileError: it is outside, be it through ``..`` or through a symbolic link.
    """
    if not rule_file:
        raise RuleFileError("rule_file is empty. Set it to the path of a .rule.safetensors file.")
    try:
        directory = Path(rule_dir).resolve() if rule_dir else Path.cwd()
        path = (directory / rule_file).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # circular links
        raise RuleFileError(f"{rule_file!r}: is not a file path: {error}.") from error
    if rule_dir and not path.is_relative_to(directory):
        raise RuleFileError(
            f"{rule_file}: is outside rule_dir ({directory}). Copy the file into it."
        )
    return path


def validate_rule_in_child(
    path: Path,
    robot: str,
    trust: Trust,
    *,
    cancelled: Callable[[], bool] = lambda: False,
    timeout: float = VALIDATION_TIMEOUT,
) -> str:
    """Return the sha256 of a rule file after another process has found it valid.

    Whatever is in the file, it costs this process neither memory nor time, nor can it crash it.

    Args:
        path: of the rule file.
        robot: name or path of the robot spec.
        trust: who must have signed it.
        cancelled: polled for whether to give up.
        timeout: longest time that the other process may take, s.

    Raises:
        RuleFileError: it was refused, for the reason in the message, or no answer came in time.
    """
    command = [sys.executable, "-c", VALIDATOR, "verify", str(path), "--robot", robot, "--json"]
    if trust.policy != "off":
        command += ["--signature-policy", trust.policy]
        command += [word for key in trust.public_keys for word in ("--public-key", str(key))]
    pipe = subprocess.PIPE
    # A session of its own: a kernel that schedules by session would give it the robot's share.
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=pipe,
        stderr=pipe,
        text=True,
        start_new_session=True,
    ) as child:
        with contextlib.suppress(OSError):  # it has ended already
            own = os.getpriority(os.PRIO_PROCESS, 0)
            os.setpriority(os.PRIO_PROCESS, child.pid, min(own + VALIDATION_NICENESS, 19))
        end = time.monotonic() + timeout
        output = errors = None
        while output is None or errors is None:
            try:
                output, errors = child.communicate(timeout=0.1)
            except subprocess.TimeoutExpired as error:
                if cancelled() or time.monotonic() > end:
                    child.kill()
                    raise RuleFileError(
                        f"{path}: validation was cut off after at most {timeout:g} s."
                    ) from error
    if child.returncode == 0:
        try:
            return str(json.loads(output)["sha256"])
        except (ValueError, KeyError, TypeError) as error:
            raise RuleFileError(f"{path}: the answer of the validation is unreadable.") from error
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    reason = lines[-1] if lines else f"validation ended with exit code {child.returncode}"
    for prefix in ("Error: ", "error: ", "hebb: "):
        reason = reason.removeprefix(prefix)
    raise RuleFileError(reason if str(path) in reason else f"{path}: {reason}")
