"""Every promise names the tests that show it, and they exist."""

from __future__ import annotations

import ast
import re

from tests.support.processes import ROOT

PAGE = ROOT / "docs" / "promises.md"
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
ROW = re.compile(
    r"^\| (?!fault |what happened )(?P<fault>[^|]+) \| (?P<promise>[^|]+) \| (?P<shown>[^|]+) \|$"
)


def rows() -> list[re.Match[str]]:
    """The rows of every table of the page, without their heads."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    found = [ROW.match(line) for line in lines if line.startswith("| ")]
    return [row for row in found if row is not None]


def names_in(path: str) -> set[str]:
    """The names of the tests that pytest collects from a file."""
    file = ROOT / path
    if not file.exists() or not file.name.startswith("test_"):
        return set()
    body = ast.parse(file.read_text(encoding="utf-8")).body
    functions = (node for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {node.name for node in functions if node.name.startswith("test_")}


def test_every_promise_names_a_test() -> None:
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    heads = [line for line in lines if line.endswith("| shown by |")]
    assert len(rows()) == len(lines) - len(heads) > 50
    tests = re.compile(rf"{NAMED.pattern}(, {NAMED.pattern})*")
    assert [row["fault"] for row in rows() if not tests.fullmatch(row["shown"])] == []


def test_every_test_that_a_promise_names_exists() -> None:
    named = {name for row in rows() for name in NAMED.findall(row["shown"])}
    known = {path: names_in(path) for path, _ in named}
    assert sorted(f"{path}::{test}" for path, test in named if test not in known[path]) == []
