"""The boards that are committed: as the code writes them, readable, and known to every Grafana."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator, ValidationError

from dashboards.__main__ import DATA
from dashboards.boards import BOARDS, files
from dashboards.boards.expressions import BY_NAME, selected
from dashboards.boards.links import Uid
from dashboards.boards.linter import faults
from dashboards.rules.thresholds import Steps, Thresholds
from telemetry.names import CATALOGUE

FILES = sorted((DATA / "boards").glob("*.json"))
SCHEMAS = sorted((Path(__file__).parent / "schemas").glob("grafana-*.json"))
EACH_BOARD = pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])


def read(path: Path) -> dict[str, Any]:
    """A board or a schema."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    """What is drawn on a board."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def test_what_is_committed_is_what_the_code_writes() -> None:
    committed = {f"boards/{path.name}": path.read_text(encoding="utf-8") for path in FILES}
    assert committed == files(), "write the boards anew: `make dashboards`"


def test_every_board_is_there_by_its_uid() -> None:
    assert [read(path)["uid"] for path in FILES] == sorted(Uid)
    assert {board.uid for board in BOARDS} == set(Uid)


@EACH_BOARD
def test_a_board_has_no_faults(path: Path) -> None:
    assert list(faults(read(path))) == []


def test_from_where_on_a_number_is_coloured_is_told_by_the_file_of_thresholds_alone() -> None:
    thresholds = Thresholds()
    told = {thresholds.colours(name): name for name in sorted(thresholds.looks)}
    used = {told.get(steps, f"{title}: {steps}") for path in FILES for title, steps in all_steps(read(path))}
    # two names may have the same colours
    assert used == set(told.values())


def all_steps(board: dict[str, Any]) -> Iterator[tuple[str, Steps]]:
    """The colours of every panel, with its title, and of every column."""
    for panel in panels(board):
        given = [panel["fieldConfig"]["defaults"].get("thresholds")]
        for override in panel["fieldConfig"]["overrides"]:
            given += [one["value"] for one in override["properties"] if one["id"] == "thresholds"]
        for thresholds in filter(None, given):
            yield panel["title"], tuple((step["value"], step["color"]) for step in thresholds["steps"])


def test_every_metric_of_the_catalogue_is_on_some_board() -> None:
    asked = {
        BY_NAME[one.name].name
        for path in FILES
        for panel in panels(read(path))
        for query in panel["targets"]
        for one in selected(query["expr"])
        if one.name in BY_NAME
    }
    assert {row.name for row in CATALOGUE} - asked == set(), "what nobody looks at need not be told"


def test_links_lead_to_boards_that_are_there() -> None:
    known = {f"/d/{uid}" for uid in Uid}
    led = {
        address.split("?")[0]
        for path in FILES
        for address in addresses(read(path))
        if address.startswith("/d/")
    }
    assert led
    assert led <= known


def addresses(content: Any) -> Iterator[str]:
    """Every address in a board."""
    match content:
        case dict():
            if isinstance(content.get("url"), str):
                yield content["url"]
            for value in content.values():
                yield from addresses(value)
        case list():
            for value in content:
                yield from addresses(value)


@pytest.mark.parametrize("schema", SCHEMAS, ids=[path.stem for path in SCHEMAS])
@EACH_BOARD
def test_a_board_is_valid_in_every_version_of_grafana(path: Path, schema: Path) -> None:
    assert list(refusals(read(path), read(schema))) == []


def test_a_schema_refuses_what_a_version_does_not_know() -> None:
    known = {path.stem: read(path) for path in SCHEMAS}
    assert list(known) == ["grafana-10", "grafana-11", "grafana-12", "grafana-13"]
    board = read(FILES[0])
    first = panels(board)[0]
    first["options"] |= {"percentChangeColorMode": "standard"}
    first["newest"] = True
    refused = {version: list(refusals(board, schema)) for version, schema in known.items()}
    assert [len(refused[version]) for version in known] == [2, 1, 1, 1]


def refusals(board: dict[str, Any], schema: dict[str, Any]) -> Iterator[str]:
    """What a version of Grafana does not know of a board."""
    # panels are looked at one by one, for a panel that is neither one nor a row says too little
    for error in Draft7Validator(schema["dashboard"]).iter_errors(board | {"panels": []}):
        yield told(error)
    definitions = {"definitions": schema["dashboard"]["definitions"]}
    for panel in board["panels"]:
        kind = "RowPanel" if panel["type"] == "row" else "Panel"
        for error in Draft7Validator({"$ref": f"#/definitions/{kind}", **definitions}).iter_errors(panel):
            yield f"{panel['title']}: {told(error)}"
    for panel in panels(board):
        own = {"options": panel["options"]}
        if "custom" in panel["fieldConfig"]["defaults"]:
            own["custom"] = panel["fieldConfig"]["defaults"]["custom"]
        for error in Draft7Validator(schema[panel["type"]]).iter_errors(own):
            yield f"{panel['title']}: {told(error)}"


def told(error: ValidationError) -> str:
    """Where it is, and what."""
    return f"{'/'.join(map(str, error.absolute_path))}: {error.message}"
