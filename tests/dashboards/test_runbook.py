"""What the runbook tells to ask and to type can be asked and typed."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
from typer.exceptions import TyperException

from dashboards import rules
from dashboards.rules import recording
from dashboards.rules.thresholds import Thresholds
from fluid.cli.app import command_line
from telemetry.rules import Alert, Recording
from tests.dashboards.promql import faults, sums_of_the_fleet
from tests.house.reading import ROOT, assert_none

PAGE = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
QUERIES = re.findall(r"^ {4}(\S.*)$", PAGE, re.MULTILINE)
COMMANDS = sorted(set(re.findall(r"`(fluid [^`]+)`", PAGE)))
ALERTS = {
    rule.alert for group in rules.alerts(Thresholds()) for rule in group.rules if isinstance(rule, Alert)
}
RECORDED = frozenset(
    rule.record
    for group in recording.groups(Thresholds())
    for rule in group.rules
    if isinstance(rule, Recording)
)


def parse(arguments: list[str]) -> str:
    """Read the arguments as the command would, and give back what they name, without running it."""
    command: Any = command_line()
    context = command.make_context("fluid", arguments)
    while hasattr(command, "resolve_command"):
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, rest, parent=context)
    return str(context.command_path)


def test_every_section_is_of_an_alert() -> None:
    assert set(SECTIONS) == ALERTS


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_says_what_it_means_how_to_see_it_and_what_to_do(name: str) -> None:
    for word in ("Means", "Confirm", "Do"):
        assert SECTIONS[name].count(f"**{word}:**") == 1
    assert re.search(r"^ {4}\S", SECTIONS[name], re.MULTILINE), "a query to confirm it with"


def test_every_query_can_be_asked() -> None:
    assert len(QUERIES) >= len(ALERTS)
    assert_none(
        [f"{query}: {fault}" for query in QUERIES for fault in (*faults(query, RECORDED), *_added_up(query))],
        "Queries of the runbook for what is not there.",
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_can_be_typed(command: str) -> None:
    _, *arguments = shlex.split(command)
    assert parse(arguments).startswith("fluid ")


@pytest.mark.parametrize("command", ["fluid paint", "fluid runs ls --state lost", "fluid runs show"])
def test_a_command_that_is_none_is_noticed(command: str) -> None:
    _, *arguments = shlex.split(command)
    with pytest.raises(TyperException):
        parse(arguments)


def _added_up(query: str) -> list[str]:
    return [f"{name} is added up" for name in sums_of_the_fleet(query)]
