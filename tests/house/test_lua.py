"""Each script is one move, and its head says what it takes, what it answers and why it may arrive twice.

    -- settle: outcomes of claimed runs, in one move.
    -- KEYS: books, leases
    -- ARGV: consumer, outcomes of (token, outcome)
    -- RETURNS: for each outcome 1 if it was accepted, else 0.
    -- TWICE: the same outcome with the same token is accepted again
    --   and changes nothing.

A field goes on in lines that are indented by two more blanks. What a script takes is written once more where
it is called: `keys`, `argv` and `each`, the names in the brackets, of its `Script` in `brokers/scripts.py`.
"""

from __future__ import annotations

import importlib
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.house.reading import LUA

FIELDS = ("KEYS", "ARGV", "RETURNS", "TWICE")
PRELUDE = LUA / "prelude.lua"
FILES = [path for path in sorted(LUA.glob("*.lua")) if path != PRELUDE]
LINE = re.compile(r"-- (?P<field>\w+):(?: (?P<text>\S.*))?")
LIST = re.compile(r"(?:^|, )[\w ]+ of \((?P<each>[\w, ]+)\)$")
MORE = re.compile(r"--   +(?P<text>\S.*)")


def header(path: Path) -> dict[str, str]:
    """The fields of the comment that a script starts with, in their order."""
    fields: dict[str, str] = {}
    latest = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("--"):
            break
        if opened := LINE.fullmatch(line):
            latest = opened["field"]
            fields[latest] = opened["text"] or ""
        elif (goes_on := MORE.fullmatch(line)) and latest:
            fields[latest] += f" {goes_on['text']}"
        else:
            raise AssertionError(
                f"{path.name}: a head has lines like '-- FIELD: text' or '--   more text', not {line!r}"
            )
    return fields


def names(text: str) -> tuple[str, ...]:
    """The names in a field: `a, b, c`."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def arguments(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names in `ARGV`: those that come once, and those of each item of the list at its end."""
    items = LIST.search(text)
    if items is None:
        return names(text), ()
    return names(text[: items.start()]), names(items["each"])


@cache
def declared() -> dict[str, Any]:
    """The calls, by the name of their script."""
    return {
        script.name: script for script in importlib.import_module("fluid.scheduler.brokers.scripts").SCRIPTS
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_script_starts_with_its_head(path: Path) -> None:
    assert tuple(header(path)) == (path.stem, *FIELDS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_head_equals_the_call(path: Path) -> None:
    fields, call = header(path), declared()[path.stem]
    assert names(fields["KEYS"]) == call.keys
    assert arguments(fields["ARGV"]) == (call.argv, call.each)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_script_uses_what_it_declares(path: Path) -> None:
    source, call = path.read_text(encoding="utf-8"), declared()[path.stem]
    assert set(re.findall(r"\bK\.(\w+)", source)) <= set(call.key_names)
    assert set(re.findall(r"\bA\.(\w+)", source)) == set(call.argv)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_script_carries_what_it_uses_of_the_prelude(path: Path) -> None:
    shared = re.findall(r"^local (?:function )?(\w+)", PRELUDE.read_text(encoding="utf-8"), re.MULTILINE)
    source = re.sub(r"--.*", "", declared()[path.stem].source)
    declared_at: dict[str, int] = {}
    for found in re.finditer(r"^local (?:function )?(\w+)", source, re.MULTILINE):
        declared_at.setdefault(found[1], found.start())
    for name in shared:
        uses = re.finditer(rf"(?<![.'\w]){name}\b" + ("" if name.isupper() else r"\("), source)
        assert all(name in declared_at and declared_at[name] < use.end() for use in uses), name


def test_every_script_has_its_call() -> None:
    assert FILES
    assert set(declared()) == {path.stem for path in FILES}
