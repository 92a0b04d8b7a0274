"""What a board must have so that it can be read at three in the morning."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from itertools import combinations
from typing import Any

from dashboards.boards import expressions
from dashboards.boards.board import COLUMNS
from dashboards.boards.links import TAG

Json = Mapping[str, Any]

SHORTEST_DESCRIPTION = 30
"""Letters; with fewer, nothing is said that the title does not say."""
GOOD_REF = re.compile(r"[A-Z]")
ASKED_FOR = re.compile(r"\$\{?(\w+)")


def faults(board: Json, records: Collection[str] = ()) -> Iterator[str]:
    """What is wrong with a board as Grafana reads it; `records` are the names of recording rules."""
    panels: list[Json] = board["panels"]
    yield from _of_the_whole(board)
    yield from _of_places(panels)
    variables = {variable["name"] for variable in board["templating"]["list"]}
    for panel in panels:
        if panel["type"] == "row":
            continue
        for fault in (*_of_panel(panel), *_of_queries(panel, variables, records)):
            yield f"{panel.get('title') or panel.get('id')}: {fault}"


def _of_the_whole(board: Json) -> Iterator[str]:
    for needed in ("uid", "title", "description", "refresh"):
        if not board.get(needed):
            yield f"the board has no {needed}"
    if TAG not in board.get("tags", ()):
        yield f"the board has no tag {TAG}: no other board leads to it"
    titles = {link["title"] for link in board.get("links", ())}
    if not any(link["type"] == "dashboards" for link in board.get("links", ())):
        yield "no link leads to the other boards"
    if len(titles) < len(board.get("links", ())):
        yield "two links have one title"
    ids = Counter(panel.get("id") for panel in board["panels"])
    for number, times in ids.items():
        if not number:
            yield "a panel has no id"
        elif times > 1:
            yield f"{times} panels have the id {number}"


def _of_places(panels: list[Json]) -> Iterator[str]:
    for panel in panels:
        place = panel["gridPos"]
        if place["x"] < 0 or place["x"] + place["w"] > COLUMNS:
            yield f"{panel['title']}: it reaches beyond the {COLUMNS} columns"
    for one, other in combinations(panels, 2):
        if _overlap(one["gridPos"], other["gridPos"]):
            yield f"{one['title']} and {other['title']} overlap"


def _overlap(one: Json, other: Json) -> bool:
    return bool(
        one["x"] < other["x"] + other["w"]
        and other["x"] < one["x"] + one["w"]
        and one["y"] < other["y"] + other["h"]
        and other["y"] < one["y"] + one["h"]
    )


def _of_panel(panel: Json) -> Iterator[str]:
    if not panel.get("title"):
        yield "no title"
    if len(panel.get("description") or "") < SHORTEST_DESCRIPTION:
        yield "no description that says what to look for"
    defaults = panel["fieldConfig"]["defaults"]
    if not defaults.get("unit"):
        yield "no unit"
    if not defaults.get("noValue"):
        yield "no text for when there is no data"
    if not defaults.get("thresholds", {}).get("steps"):
        yield "no thresholds"
    if panel["type"] == "timeseries" and not panel["options"].get("legend", {}).get("showLegend"):
        yield "no legend"
    if panel["type"] == "table":
        units = {override["matcher"]["options"] for override in panel["fieldConfig"]["overrides"]}
        for column in _columns(panel) - units:
            yield f"the column {column} has no unit"


def _columns(panel: Json) -> set[str]:
    return {
        name
        for transformation in panel["transformations"]
        if transformation["id"] == "organize"
        for name in transformation["options"]["renameByName"].values()
    }


def _of_queries(panel: Json, variables: set[str], records: Collection[str]) -> Iterator[str]:
    queries: list[Json] = panel.get("targets") or []
    if not queries:
        yield "no query"
    refs = [query.get("refId") or "" for query in queries]
    if len(set(refs)) < len(refs) or not all(map(GOOD_REF.fullmatch, refs)):
        yield f"its queries need a refId each, from A to Z: {refs}"
    for query in queries:
        expr = query["expr"]
        for fault in expressions.faults(expr, records):
            yield f"{query.get('refId')}: {fault}"
        unknown = set(ASKED_FOR.findall(expr)) - variables
        for name in sorted(name for name in unknown if not name.startswith("__")):
            yield f"{query.get('refId')}: there is no variable {name}"
        for label in re.findall(r"\{\{(\w+)\}\}", query.get("legendFormat") or ""):
            if not re.search(rf"\bby \([^)]*\b{label}\b", expr):
                yield f"{query.get('refId')}: the legend shows {label}, by which nothing is told apart"
        if not query.get("legendFormat"):
            yield f"{query.get('refId')}: no legend"
        if query.get("datasource", {}).get("uid") != "${datasource}":
            yield f"{query.get('refId')}: its data source cannot be chosen"
