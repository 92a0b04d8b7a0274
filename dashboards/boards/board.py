"""A board: rows of panels, laid out from the left, and the file that Grafana reads."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard

from dashboards.boards.links import TAG, Uid, to_boards, to_runbook
from dashboards.boards.panel import Panel

COLUMNS = 24
"""How wide Grafana's grid is."""

OLDEST_SCHEMA = 38
"""The version of Grafana 10.0. A newer Grafana brings a board up to date as it reads it; none goes back."""

NOT_IN_EVERY_VERSION = (
    *("allowCustomValue", "auto", "auto_count", "auto_min", "percentChangeColorMode", "selectionMode"),
    "footer",
)
"""Fields that the SDK writes, at what is their default anyway, and that some version does not know."""


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under a heading, from left to right, wrapped where they do not fit."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """Everything on one page."""

    uid: Uid
    title: str
    look_for: str
    variables: Sequence[dashboard.VariableModel]
    links: Sequence[dashboard.DashboardLink]
    rows: Sequence[Row]

    def text(self) -> str:
        """The file."""
        model = dashboard.Dashboard(
            uid=self.uid,
            title=self.title,
            description=self.look_for,
            tags=[TAG],
            timezone="browser",
            editable=True,
            graph_tooltip=dashboard.DashboardCursorSync.CROSSHAIR,
            time=dashboard.DashboardDashboardTime(from_val="now-1h", to="now"),
            refresh="30s",
            schema_version=OLDEST_SCHEMA,
            version=1,
            templating=dashboard.DashboardDashboardTemplating(list_val=list(self.variables)),
            links=[to_boards(), to_runbook(), *self.links],
            panels=list(self._placed()),
        )
        written = json.loads(JSONEncoder().encode(model))
        return json.dumps(for_every_version(written), indent=1, ensure_ascii=False, sort_keys=True) + "\n"

    def _placed(self) -> Iterator[dashboard.Panel | dashboard.RowPanel]:
        number, y = 0, 0
        for row in self.rows:
            number += 1
            yield dashboard.RowPanel(
                title=row.title, id_val=number, grid_pos=dashboard.GridPos(h=1, w=COLUMNS, x=0, y=y)
            )
            y += 1
            x, tallest = 0, 0
            for panel in row.panels:
                if x + panel.width > COLUMNS:
                    x, y, tallest = 0, y + tallest, 0
                number += 1
                yield panel.at(number, x, y)
                x, tallest = x + panel.width, max(tallest, panel.height)
            y += tallest


def for_every_version(written: Any) -> Any:
    """Without what is not set, and what not every version knows."""
    match written:
        case dict():
            # links were always drawn at the same place; the lowest threshold has no value
            unwanted = {*NOT_IN_EVERY_VERSION, *(["placement"] if "asDropdown" in written else [])}
            return {
                key: for_every_version(value)
                for key, value in written.items()
                if key not in unwanted and (value is not None or key == "value")
            }
        case list():
            return [for_every_version(value) for value in written]
    return written
