"""Where the controllers of an evaluation come from: files, or somebody else's factories."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..controller import Controller, controller_for
from ..errors import ContractError, HebbError, RuleFileError
from ..files import read_bounded
from ..robot import RobotSpec, load_robot
from ..rule import Rule
from ..rule_file import load_rule
from .baseline_file import SUFFIX, load_baseline
from .baselines import baseline_controller

MAX_PERIOD = 1.0  # s, as in rule files

_FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@dataclass(frozen=True)
class Source:
    """Where a controller comes from; calling it makes one.

    Attributes:
        text: path of a rule file or a baseline file, or ``package.module:factory`` with
            ``factory(robot) -> Controller``.
        robot: name of the robot spec.
        plasticity_gain: factor on every weight change.
        sha256: of the file, which must not change; empty if it may.
    """

    text: str
    robot: str
    plasticity_gain: float = 1.0
    sha256: str = ""

    def pinned(self) -> Source:
        """Return the same source with the ``sha256`` of its file, if it is one.

        Raises:
            HebbError: the file cannot be read.
        """
        return replace(self, sha256=_sha256(self.text)) if self.is_file else self

    @property
    def is_file(self) -> bool:
        """Whether it names a file, existing or not."""
        return Path(self.text).exists() or not _FACTORY.fullmatch(self.text)

    @property
    def is_rule(self) -> bool:
        """Whether it names a rule file."""
        return self.is_file and not self.text.endswith(SUFFIX)

    @property
    def is_plastic(self) -> bool:
        """Whether it is a rule file with coefficients."""
        return self.is_rule and self.rule().header.kind != "static"

    def rule(self) -> Rule:
        """Return the rule in the file.

        Raises:
            RuleFileError: it cannot be read.
            HebbError: the file has changed.
        """
        rule = load_rule(self.text)
        self._check(rule.sha256)
        return rule

    def __call__(self) -> Controller:
        """Return a new controller.

        Raises:
            RuleFileError: the file cannot be read.
            ContractError: its contents do not fit the robot.
            HebbError: there is no such module or factory, it fails, or the file has changed.
        """
        spec = load_robot(self.robot)
        if not self.is_file:
            with blaming(self.text, "when it was made"):
                controller = _made(self.text, spec)
                controller.runtime.plasticity_gain = self.plasticity_gain
            return controller
        if self.is_rule:
            try:
                controller = controller_for(self.rule(), spec)
            except ContractError as error:
                raise ContractError(f"{self.text}: {error}") from error
        else:
            self._check(_sha256(self.text))
            controller = baseline_controller(load_baseline(self.text), spec)
        controller.runtime.plasticity_gain = self.plasticity_gain
        return controller

    def _check(self, sha256: str) -> None:
        if self.sha256 not in ("", sha256):
            raise HebbError(
                f"{self.text}: changed while it was being evaluated. Fix: evaluate a copy."
            )


def _sha256(path: str) -> str:
    return hashlib.sha256(read_bounded(Path(path), None, RuleFileError)).hexdigest()


@contextlib.contextmanager
def blaming(who: str, where: str) -> Iterator[None]:
    """Make what somebody else's controller raises an error that names it.

    Args:
        who: the controller.
        where: words that say when it was.
    """
    try:
        yield
    except HebbError:
        raise
    except (Exception, SystemExit) as error:
        raise HebbError(f"{who}: raised {' '.join(repr(error).split())} {where}.") from error


def _made(text: str, robot: RobotSpec) -> Controller:
    factory = _factory(text)
    try:
        inspect.signature(factory).bind(robot)
    except (TypeError, ValueError) as error:
        raise HebbError(f"{text}: not a factory(robot) -> Controller: {error}.") from error
    controller = factory(robot)
    if not isinstance(controller, Controller):
        kind = type(controller).__name__
        raise HebbError(f"{text}: not a factory(robot) -> Controller: it returned a {kind}.")
    interface, n = controller.interface, robot.n_joints
    if not 0.0 < interface.period <= MAX_PERIOD:
        raise HebbError(
            f"{text}: its period is {interface.period:g} s, not within (0, {MAX_PERIOD:g}]."
        )
    for name in ("default", "action_scale"):
        if (shape := np.shape(getattr(interface, name))) != (n,):
            raise HebbError(f"{text}: the shape of its {name} is {shape}, not ({n},).")
    return controller


def _factory(text: str) -> Callable[[RobotSpec], Controller]:
    module, _, name = text.partition(":")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)  # as `python -m` does
    try:
        factory: Callable[[RobotSpec], Controller] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise HebbError(
            f"{text}: {error}. Fix: give package.module:factory, importable from here, or the path "
            "of a rule file."
        ) from error
    return factory
