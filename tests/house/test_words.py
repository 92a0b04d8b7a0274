"""What no file of this project holds."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.house.reading import ROOT, assert_none, called, imports, lines_where, rooms

PLACES = ("fluid", "telemetry", "dashboards", "tests", "examples", "docs", "scripts", ".ci", ".github")
TEXTS = {"", ".cfg", ".css", ".html", ".js", ".json", ".lua", ".md", ".py", ".sh", ".toml", ".yaml", ".yml"}
LEFTOVERS = re.compile(
    "|".join(rf"\b{word}{rest}\b" for word, rest in [("TO", "DO"), ("FIX", "ME"), ("XX", "X"), ("HA", "CK")])
)
MACHINE_PATHS = re.compile(r"(?<![\w./-])/(?:root|work|Users|home/\w+)(?=[/\s\"'`:)]|$)", re.MULTILINE)
UNSAFE_MODULES = {"cloudpickle", "dill", "marshal", "pickle", "shelve"}
UNSAFE_CALLS = {"eval", "exec"}
CLOCKS = {
    "date": {"today"},
    "datetime": {"now", "today", "utcnow"},
    "time": {"monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "time", "time_ns"},
}
CODE = rooms("fluid", "telemetry", "dashboards", "tests", "examples")
"""Every module that we wrote."""


def texts() -> Iterator[Path]:
    """Every text that is, or will be, under version control."""
    for place in PLACES:
        for path in sorted((ROOT / place).rglob("*")):
            if path.is_file() and path.suffix in TEXTS and "__pycache__" not in path.parts:
                yield path
    for path in sorted(ROOT.iterdir()):
        if path.is_file() and path.suffix in TEXTS:
            yield path


def lines_with(pattern: re.Pattern[str]) -> list[str]:
    """Every place in our texts where the pattern is found."""
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in texts()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line)
    ]


def swallows(node: ast.AST) -> bool:
    """Catches everything and says nothing."""
    match node:
        case ast.ExceptHandler(type=None):
            return True
        case ast.ExceptHandler(type=ast.expr() as kind, body=body):
            return is_broad(kind) and all(
                isinstance(line, ast.Pass | ast.Continue) or is_remark(line) for line in body
            )
        case ast.Call(args=kinds) if called(node) == "suppress":
            return any(is_broad(kind) for kind in kinds)
    return False


def is_broad(kind: ast.expr) -> bool:
    """`Exception` or `BaseException`, alone or among others."""
    return any(
        isinstance(part, ast.Name) and part.id in {"BaseException", "Exception"} for part in ast.walk(kind)
    )


def is_remark(line: ast.stmt) -> bool:
    """A docstring or an ellipsis."""
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant)


def reads_a_clock(node: ast.AST) -> bool:
    """Names a function of the system's clock: `time.monotonic`, `datetime.now`, `from time import time`."""
    match node:
        case ast.Attribute(value=ast.Name(id=owner) | ast.Attribute(attr=owner), attr=word):
            return word in CLOCKS.get(owner, ())
        case ast.ImportFrom(module="time", names=taken):
            return any(alias.name in CLOCKS["time"] for alias in taken)
    return False


def trusts(node: ast.AST) -> bool:
    """Takes a module that runs what it decodes, or runs a text."""
    match node:
        case ast.Import() | ast.ImportFrom():
            return any(taken.module.split(".")[0] in UNSAFE_MODULES for taken in imports(node))
        case ast.Call(func=ast.Name(id=word)):
            return word in UNSAFE_CALLS
    return False


def test_nothing_is_left_for_later() -> None:
    assert_none(lines_with(LEFTOVERS), "Notes to come back to. Do it now, or write it where work is planned.")


def test_no_file_knows_a_machine() -> None:
    assert_none(lines_with(MACHINE_PATHS), "Paths of somebody's machine.")


def test_no_exception_is_swallowed() -> None:
    faults = [room.at(line) for room in CODE for line in lines_where(room.tree, swallows)]
    assert_none(
        faults,
        "Everything is caught here and nothing is said. Catch what is expected, or log, count or raise it.",
    )


def test_nothing_runs_what_it_was_sent() -> None:
    faults = [room.at(line) for room in CODE for line in lines_where(room.tree, trusts)]
    assert_none(faults, "A message is data: it is validated as it is decoded, and never run.")


def test_only_the_clock_reads_the_clock() -> None:
    faults = [
        room.at(line)
        for room in rooms("fluid", "telemetry", "dashboards", "examples")
        if room.name != "fluid.clock"
        for line in lines_where(room.tree, reads_a_clock)
    ]
    assert_none(
        faults,
        "Take the time from fluid.clock, or from a `Clock` that is handed in, so that tests turn its hands.",
    )


NOTICED = [
    (swallows, "try: work()\nexcept: raise"),
    (swallows, "try: work()\nexcept Exception: pass"),
    (swallows, "try: work()\nexcept (OSError, BaseException): ..."),
    (swallows, "with contextlib.suppress(Exception): work()"),
    (trusts, "from pickle import loads"),
    (trusts, "eval(message)"),
    (reads_a_clock, "time.monotonic()"),
    (reads_a_clock, "datetime.datetime.now(UTC)"),
    (reads_a_clock, "from time import time"),
    (reads_a_clock, "timer(time.time)"),
]
ALLOWED = [
    (swallows, "try: work()\nexcept FileNotFoundError: pass"),
    (swallows, "try: work()\nexcept Exception: log.exception('work failed')"),
    (swallows, "with suppress(OSError): work()"),
    (trusts, "await redis.eval(script)"),
    (reads_a_clock, "clock.now()"),
    (reads_a_clock, "from fluid.clock import now"),
]


@pytest.mark.parametrize(("rule", "code"), NOTICED)
def test_what_is_forbidden_is_noticed(rule: Callable[[ast.AST], bool], code: str) -> None:
    assert list(lines_where(ast.parse(code), rule))


@pytest.mark.parametrize(("rule", "code"), ALLOWED)
def test_what_is_allowed_is_let_be(rule: Callable[[ast.AST], bool], code: str) -> None:
    assert not list(lines_where(ast.parse(code), rule))
