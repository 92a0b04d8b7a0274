"""One room draws the key map: no other room, and no script, spells a Redis key."""

from __future__ import annotations

import ast
import re

import pytest

from fluid.scheduler.brokers.keys import Keys
from tests.house.reading import HOLE, LUA, ROOT, assert_none, lua_strings, rooms, strings

KEYS = Keys("orders")
NAMES = {key.removeprefix(KEYS.prefix) for key in [*KEYS.permanent(), KEYS["run"]]}
FAMILIES = {name.split(":")[0] for name in NAMES if ":" in name}
HASH_TAG = re.compile(rf"\{{({HOLE}|\w+)\}}:")
MEMBER = re.compile(rf"(?:^|[{HOLE}:}}])(?:{'|'.join(sorted(FAMILIES))}):")
WHOLE = re.compile(rf"[{HOLE}:}}](?:{'|'.join(sorted(NAMES - FAMILIES))})$")


def spells_a_key(text: str) -> bool:
    """The text holds a hash tag, or a part of a key as a script or an f-string would join it on."""
    if HASH_TAG.search(text):
        return True
    return not re.search(r"\s", text) and bool(MEMBER.search(text) or WHOLE.search(text))


def test_only_the_key_map_spells_keys() -> None:
    faults = [
        f"{room.at(line)}: {text.replace(HOLE, '...')!r}"
        for room in rooms("fluid", "telemetry")
        if room.name != "fluid.scheduler.brokers.keys"
        for line, text in strings(room.tree)
        if spells_a_key(text)
    ]
    assert_none(
        faults, "Key literals outside fluid/scheduler/brokers/keys.py. Ask `Keys` for the key by its name."
    )


def test_scripts_are_given_their_keys() -> None:
    faults = [
        f"{path.relative_to(ROOT)}:{line}: {text!r}"
        for path in sorted(LUA.glob("*.lua"))
        for line, text in lua_strings(path.read_text(encoding="utf-8"))
        if spells_a_key(text)
    ]
    assert_none(
        faults,
        "Key literals in scripts. A script gets its keys, and the beginning of every record's key, in KEYS.",
    )


def test_every_key_of_a_queue_shares_its_hash_tag() -> None:
    assert KEYS.permanent()
    assert all(key.startswith("{orders}:") for key in [*KEYS.permanent(), KEYS.run("r1")])


@pytest.mark.parametrize(
    "code",
    [
        '"{orders}:anything"',
        'f"{{{queue}}}:"',
        'tag + ":bell"',
        'f"{tag}:run:{run_id}"',
        '"run:" + run_id',
        'f"{tag}books"',
    ],
)
def test_a_spelled_key_is_noticed(code: str) -> None:
    assert [text for _, text in strings(ast.parse(code, mode="eval")) if spells_a_key(text)]


@pytest.mark.parametrize(
    "code", ['f"run: {reason}"', '"the bell: a list"', '"books"', 'f"{module}:{name}"', 'f"held {task}"']
)
def test_an_ordinary_text_is_not_taken_for_a_key(code: str) -> None:
    assert not [text for _, text in strings(ast.parse(code, mode="eval")) if spells_a_key(text)]
