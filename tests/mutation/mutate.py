"""Plant faults in ``hebb_controller/safety.py``, one at a time, and see whether its tests notice.

    python tests/mutation/mutate.py

Each mutant is one small change of the syntax tree (a comparison, a sign, a constant, ``and`` for
``or``, a statement or an argument left out, one side of a bound, a name for its opposite), written into
a temporary copy of the package in which the tests run until the first fails. Prints killed / total and
every survivor; the exit code is 1 below 95 %.
"""

import ast
import copy
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import scipy.spatial.transform
import yaml

ROOT = Path(__file__).resolve().parents[2]
TARGET = "hebb_controller/safety.py"
TESTS = ("tests/unit/test_safety.py", "tests/property/test_safety_properties.py")
OMITS_LAST = ("Command", "damp_command", "LimitReport")  # whose last argument has a default
ENOUGH = 0.95
PATIENCE = 120  # s; a mutant whose tests take longer is killed
PRELOADED = (np, scipy.spatial.transform, hypothesis, yaml)  # once, instead of for each mutant

OPERATORS = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div,),
    ast.Div: (ast.Mult,),
    ast.BitOr: (ast.BitAnd,),
    ast.BitAnd: (ast.BitOr,),
    ast.And: (ast.Or,),
    ast.Or: (ast.And,),
}
PAIRS = (
    *(("min", "max"), ("minimum", "maximum"), ("add", "subtract"), ("any", "all")),
    *(("lower", "upper"), ("low", "high"), ("kp", "kd"), ("cos", "sin"), ("POSITION", "DAMP")),
    *(("FINITE", "STALE"), ("TILT", "STALE"), ("RANGE", "RATE"), ("TORQUE", "RATE")),
    *(("joint_position", "last_position"), ("stamp", "received"), ("zeros", "ones")),
)
SWAPS = {a: b for one, other in PAIRS for a, b in ((other, one), (one, other))}


def replacements(node: ast.AST, field: str) -> Iterator[object]:
    """Yield what may stand in the place of one field's value."""
    value = getattr(node, field)
    for operator in OPERATORS.get(type(value), ()):
        yield operator()
    if field in {"id", "attr"} and value in SWAPS:
        yield SWAPS[value]
    if isinstance(node, ast.Constant) and isinstance(value, (int, float)):
        yield from (value * 1.1, value * 0.9) if value else (1.0,)
    if isinstance(node, (ast.If, ast.IfExp)) and field == "test":
        yield from (ast.Constant(True), ast.Constant(False))
    if isinstance(value, ast.UnaryOp):  # without its `not` or minus
        yield value.operand
    if isinstance(value, ast.Call):
        yield from parts(value)
    if isinstance(value, list) and not isinstance(node, ast.JoinedStr):
        for i, item in enumerate(value):
            for other in items(node, item):
                yield [*value[:i], *other, *value[i + 1 :]]


def parts(call: ast.Call) -> Iterator[ast.AST]:
    """Yield what a call may shrink to: one side of a bound, an array instead of its copy."""
    name = ast.unparse(call.func).rpartition(".")[2]
    if name in {"min", "max", "minimum", "maximum"}:
        yield from call.args
    if name == "copy" and isinstance(call.func, ast.Attribute):
        yield call.func.value


def items(node: ast.AST, item: ast.AST) -> Iterator[list[ast.AST]]:
    """Yield what may stand in the place of one item of a list: statements, arguments, comparisons."""
    if isinstance(item, (ast.Assign, ast.AugAssign, ast.If, ast.Return)) or (
        isinstance(item, ast.Expr) and isinstance(item.value, ast.Call)
    ):
        yield [ast.Pass()]
    if isinstance(node, ast.Call):
        name = ast.unparse(node.func)
        if name == "_finite" or (name in OMITS_LAST and item is node.args[-1]):
            yield []
    text = isinstance(item, ast.JoinedStr) or isinstance(getattr(item, "value", None), str)
    if text and isinstance(node, (ast.Call, ast.Compare)):
        yield [ast.Constant("")]
    if isinstance(node, ast.BoolOp):
        yield []
    if isinstance(item, ast.UnaryOp):
        yield [item.operand]
    if isinstance(item, ast.Call):
        for part in parts(item):
            yield [part]
    for operator in OPERATORS.get(type(item), ()):
        yield [operator()]


def places(node: ast.AST) -> Iterator[ast.AST]:
    """Yield all nodes but those of annotations and imports."""
    yield node
    for field, value in ast.iter_fields(node):
        if field not in {"annotation", "returns"}:
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST) and not isinstance(child, ast.ImportFrom):
                    yield from places(child)


def mutants(source: str) -> dict[str, str]:
    """Return every mutant: its source -> what was changed, as the differing lines."""
    tree = ast.parse(source)
    plain = ast.unparse(tree)
    found: dict[str, str] = {}
    for node in places(tree):
        for field, value in ast.iter_fields(node):
            for other in list(replacements(node, field)):
                setattr(node, field, other)
                changed = ast.unparse(ast.fix_missing_locations(copy.deepcopy(tree)))
                setattr(node, field, value)
                if changed != plain:
                    found.setdefault(changed, f"line {line_of(node, value, other)}: ")
    for changed in found:
        pairs = zip(plain.splitlines(), changed.splitlines(), strict=False)
        was, now = next((a, b) for a, b in pairs if a != b)
        found[changed] += f"{was.strip()}  ->  {now.strip()}"
    return found


def line_of(node: ast.AST, value: object, other: object) -> int:
    """Return the line of the first thing that differs."""
    values = value if isinstance(value, list) else [value]
    others = other if isinstance(other, list) else [other]
    first = next((a for a, b in zip(values, others, strict=False) if a is not b), node)
    return getattr(first, "lineno", getattr(node, "lineno", 0))


def passes(copied: Path, source: str) -> bool:
    """Return whether the tests pass with this source; in a child, since modules are loaded once."""
    (copied / TARGET).write_text(source, encoding="utf-8")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.alarm(PATIENCE)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(1, 2)
            os.chdir(copied)
            sys.path.insert(0, str(copied))
            sys.dont_write_bytecode = True  # two mutants within a second would look the same
            code = pytest.main(["-xq", "-p", "no:cacheprovider", *TESTS])
        finally:  # nothing of what the parent has begun is ended here
            os._exit(code)
    return os.waitpid(child, 0)[1] == 0


def main() -> int:
    """Run all mutants and return the exit code."""
    source = (ROOT / TARGET).read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as directory:
        copied = Path(directory).resolve()
        ignore = shutil.ignore_patterns("__pycache__")
        for part in ("hebb_controller", "tests"):
            shutil.copytree(ROOT / part, copied / part, ignore=ignore)
        shutil.copy(ROOT / "pyproject.toml", copied)
        if not passes(copied, source) or passes(copied, f"{source}\n1 / 0\n"):
            print("The tests do not judge the copy: see that they pass without mutants.")
            return 2
        found = mutants(source)
        survivors = [what for mutant, what in found.items() if passes(copied, mutant)]
    killed = len(found) - len(survivors)
    print(f"{killed} of {len(found)} mutants of {TARGET} killed: {killed / len(found):.1%}")
    for survivor in survivors:
        print(f"survived: {survivor}")
    return int(killed < ENOUGH * len(found))


if __name__ == "__main__":
    sys.exit(main())
