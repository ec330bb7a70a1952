"""Scenarios: YAML files that say what happens in an episode, with random parts as distributions.

A file is checked completely, for one robot, when it is loaded; an error is one line that names the
file's line and the valid choices. docs/damage.md shows the format. :meth:`Scenario.draw` makes the
concrete episode.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn, TypeVar

import yaml

from hebb_controller.errors import DamageError, ScenarioError
from hebb_controller.plain_yaml import PlainLoader
from hebb_controller.robot import RobotSpec
from hebb_controller.share import share_dir

from .damage import TABLE, check_damage, make_damage
from .random_episode import Choice, Number, RandomDamage, RandomSpell, Scenario, Uniform

T = TypeVar("T")

MAX_DURATION = 3600.0  # s
EVERY = ("leg", "joint")  # what `any` picks from


def available_scenarios() -> list[str]:
    """Return the names of the scenarios that ship with the package."""
    return sorted(p.stem for p in (share_dir() / "config" / "scenarios").glob("*.yaml"))


def load_scenario(name_or_path: str | Path, robot: RobotSpec) -> Scenario:
    """Return the scenario for a robot, by shipped name (``limp_leg``) or path of a YAML file.

    Raises:
        ScenarioError: there is no such scenario, or the file is unreadable or invalid.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = share_dir() / "config" / "scenarios" / f"{name_or_path}.yaml"
    if not path.is_file():
        raise ScenarioError(
            f"scenario '{name_or_path}': no such scenario. "
            f"Shipped: {', '.join(available_scenarios())}; or give the path of a .yaml file."
        )
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{path}: not readable as text: {error}") from error
    return parse_scenario(text, robot, where=str(path))


def parse_scenario(text: str, robot: RobotSpec, *, where: str) -> Scenario:
    """Return the scenario in a YAML text.

    Args:
        text: the YAML text.
        robot: robot whose legs and joints it may name.
        where: path of the file; its stem names the scenario, and error messages begin with it.

    Raises:
        ScenarioError: the text is invalid; the message names the line.
    """
    try:
        node = yaml.compose(text, Loader=PlainLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise ScenarioError(f"{where}{line}: not readable as YAML: {error.problem}.") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ScenarioError(f"{where}: not readable as YAML: {reason}") from error
    if node is None:
        raise ScenarioError(f"{where}: the file is empty. It needs at least 'duration: 10.0'.")
    return _Parser(robot, where).scenario(node)


class _Parser:
    """Parses the nodes of one file, each of which knows its line."""

    def __init__(self, robot: RobotSpec, where: str) -> None:
        self._robot = robot
        self._where = where

    def scenario(self, node: yaml.Node) -> Scenario:
        top = self._fields(node, ("duration",), ("turn", "background", "timeline"))
        duration = self._plain_number(top["duration"], "duration")
        if not 0.0 < duration <= MAX_DURATION:
            self._fail(top["duration"], f"duration must be in (0, {MAX_DURATION:g}] s.")
        turn = self._number(top["turn"], "turn") if "turn" in top else Choice((0.0,))
        if not all(abs(end) <= math.pi for end in turn.ends):
            self._fail(top["turn"], "turn must be in [-pi, pi] rad.")
        return Scenario(
            Path(self._where).stem,
            duration,
            turn,
            self._list(top.get("background"), "background", self._damage),
            self._list(top.get("timeline"), "timeline", lambda n: self._spell(n, duration)),
        )

    def _spell(self, node: yaml.Node, duration: float) -> RandomSpell:
        fields = self._fields(node, ("onset", "damages"), ("lasts",))
        onset = self._number(fields["onset"], "onset")
        if not all(0.0 <= end < duration for end in onset.ends):
            self._fail(
                fields["onset"], f"onset must be in [0, {duration:g}) s, within the duration."
            )
        lasts = self._number(fields["lasts"], "lasts") if "lasts" in fields else None
        if lasts is not None and not all(0.0 < end <= MAX_DURATION for end in lasts.ends):
            self._fail(fields["lasts"], f"lasts must be in (0, {MAX_DURATION:g}] s.")
        return RandomSpell(onset, lasts, self._list(fields["damages"], "damages", self._damage))

    def _damage(self, node: yaml.Node) -> Choice[RandomDamage]:
        options = self._distribution(node, "choice")
        if options is not None:
            return Choice(self._list(options, "choice", self._one_damage))
        return Choice((self._one_damage(node),))

    def _one_damage(self, node: yaml.Node) -> RandomDamage:
        fields = self._fields(node, ("part", "kind"), ("amount",))
        kind = self._word(fields["kind"], "kind")
        if kind not in TABLE:
            self._fail(fields["kind"], f"kind '{kind}' is unknown. Known: {', '.join(TABLE)}.")
        amount = self._number(fields["amount"], "amount") if "amount" in fields else None
        takes = TABLE[kind].amount
        if takes is not None and takes.whole and isinstance(amount, Uniform):
            self._fail(fields["amount"], f"'{kind}' takes {takes}: write {{choice: […]}}.")
        part = self._part(fields["part"])
        try:
            ends: Sequence[float | None] = (None,) if amount is None else amount.ends
            for name, end in itertools.product(part.ends, ends):
                check_damage(make_damage(name, kind, end), self._robot)
        except DamageError as error:
            raise ScenarioError(f"{self._at(node)}: {error}") from error
        return RandomDamage(part, kind, amount)

    def _part(self, node: yaml.Node) -> Choice[str]:
        every = self._distribution(node, "any")
        if every is not None:
            word = self._word(every, "any")
            if word not in EVERY:
                self._fail(every, f"any '{word}' is unknown. Known: {', '.join(EVERY)}.")
            found = self._robot.legs if word == "leg" else self._robot.joint_names
            if not found:
                self._fail(every, f"robot '{self._robot.name}' has no {word}.")
            return Choice(tuple(found))
        options = self._distribution(node, "choice")
        if options is not None:
            return Choice(self._list(options, "choice", lambda n: self._word(n, "part")))
        if isinstance(node, yaml.MappingNode):
            self._fail(node, "part takes a name, {any: leg}, {any: joint} or {choice: [FR, …]}.")
        return Choice((self._word(node, "part"),))

    def _number(self, node: yaml.Node, name: str) -> Number:
        ends = self._distribution(node, "uniform")
        if ends is not None:
            pair = self._list(ends, "uniform", lambda n: self._plain_number(n, "uniform"))
            if len(pair) != 2 or not pair[0] <= pair[1]:
                self._fail(ends, f"{name}: uniform takes [least, most].")
            return Uniform((pair[0], pair[1]))
        options = self._distribution(node, "choice")
        if options is not None:
            return Choice(self._list(options, "choice", lambda n: self._plain_number(n, name)))
        if isinstance(node, yaml.MappingNode):
            self._fail(node, f"{name} takes a number, {{uniform: [a, b]}} or {{choice: [a, …]}}.")
        return Choice((self._plain_number(node, name),))

    def _distribution(self, node: yaml.Node, name: str) -> yaml.Node | None:
        """Return the value of a mapping whose only key is the name of a distribution."""
        if isinstance(node, yaml.MappingNode) and [key.value for key, _ in node.value] == [name]:
            value: yaml.Node = node.value[0][1]
            return value
        return None

    def _plain_number(self, node: yaml.Node, name: str) -> float:
        number = math.nan
        if isinstance(node, yaml.ScalarNode) and node.style is None:
            with contextlib.suppress(ValueError):
                number = float(node.value)
        if not math.isfinite(number):
            self._fail(node, f"{name}: expected a finite number, found {_found(node)}.")
        return number

    def _word(self, node: yaml.Node, name: str) -> str:
        if not isinstance(node, yaml.ScalarNode) or not node.value:
            self._fail(node, f"{name}: expected a word, found {_found(node)}.")
        return str(node.value)

    def _list(
        self, node: yaml.Node | None, name: str, parse: Callable[[yaml.Node], T]
    ) -> tuple[T, ...]:
        if node is None:
            return ()
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            self._fail(node, f"{name}: expected a non-empty list, found {_found(node)}.")
        return tuple(parse(item) for item in node.value)

    def _fields(
        self, node: yaml.Node, needed: Sequence[str], optional: Sequence[str]
    ) -> Mapping[str, yaml.Node]:
        known = ", ".join((*needed, *optional))
        if not isinstance(node, yaml.MappingNode):
            self._fail(node, f"expected a mapping of {known}; found {_found(node)}.")
        fields: dict[str, yaml.Node] = {}
        for key, value in node.value:
            word = key.value if isinstance(key, yaml.ScalarNode) else _found(key)
            if word in fields:
                self._fail(key, f"'{word}' appears twice.")
            if word not in (*needed, *optional):
                self._fail(key, f"unknown field '{word}'. Known: {known}.")
            fields[word] = value
        for word in needed:
            if word not in fields:
                self._fail(node, f"'{word}' is missing. Fields: {known}.")
        return fields

    def _at(self, node: yaml.Node) -> str:
        return f"{self._where}:{node.start_mark.line + 1}"

    def _fail(self, node: yaml.Node, message: str) -> NoReturn:
        raise ScenarioError(f"{self._at(node)}: {message}")


def _found(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        return repr(node.value[:40]) if node.value else "nothing"
    return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"
