"""A room holds one idea: it is short and named by it."""

from __future__ import annotations

from tests.house.reading import assert_none, rooms

CEILING = 350
CATCH_ALLS = {"base", "common", "core", "helpers", "misc", "models", "shared", "tools", "util", "utils"}


def test_a_room_is_short() -> None:
    faults = [
        f"{room.at(1)}: {lines} lines"
        for room in rooms("fluid", "telemetry", "dashboards")
        if (lines := len(room.source.splitlines())) > CEILING
    ]
    assert_none(
        faults,
        f"Rooms of more than {CEILING} lines hold more than one idea: give the second one its own room.",
    )


def test_a_room_is_named_by_its_idea() -> None:
    faults = [
        room.at(1)
        for room in rooms("fluid", "telemetry", "dashboards")
        if CATCH_ALLS.intersection(room.name.strip("_").split("."))
    ]
    assert_none(faults, f"Rooms with a name that says nothing ({', '.join(sorted(CATCH_ALLS))}).")


def test_a_room_says_what_it_is_for() -> None:
    assert_none(
        [room.at(1) for room in rooms("fluid", "telemetry", "dashboards") if not has_purpose(room.source)],
        "Rooms that do not start with a docstring.",
    )


def has_purpose(source: str) -> bool:
    """The first statement is a docstring."""
    return source.lstrip().startswith(('"""', 'r"""'))
