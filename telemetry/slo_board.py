"""A board for the objectives of one queue: a row for each task, with its budgets and how they burn."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import count, groupby
from typing import Any

from telemetry.slo import BURNS, LEFT, PERIOD, Objective

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
HEIGHT = 8
RED_UNTIL, YELLOW_UNTIL = 0, 0.25
"""How much of a budget is left when its colour changes."""


def uid_of(queue: str) -> str:
    """The board's uid; Grafana takes 40 characters at most."""
    return f"fluid-slo-{re.sub('[^a-zA-Z0-9_-]', '-', queue)}"[:40]


def board(queue: str, objectives: Sequence[Objective]) -> dict[str, Any]:
    """The board, as Grafana imports it."""
    return {
        "uid": uid_of(queue),
        "title": f"Fluid / Objectives of {queue}",
        "description": "What was promised of tasks, how much of each budget is left, how fast it burns.",
        "tags": ["fluid"],
        "schemaVersion": 38,
        "editable": True,
        "time": {"from": "now-7d", "to": "now"},
        "refresh": "1m",
        "templating": {
            "list": [
                {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
            ]
        },
        "panels": list(_panels(objectives)),
    }


def _panels(objectives: Sequence[Objective]) -> Iterator[dict[str, Any]]:
    numbers, y = count(1), 0
    for task, promised in groupby(objectives, key=lambda objective: objective.task):
        yield {
            "id": next(numbers),
            "type": "row",
            "title": task,
            "collapsed": False,
            "gridPos": {"x": 0, "y": y, "w": 24, "h": 1},
            "panels": [],
        }
        y += 1
        for objective in promised:
            yield _budget(objective, next(numbers), y)
            yield _burning(objective, next(numbers), y)
            y += HEIGHT


def _budget(objective: Objective, number: int, y: int) -> dict[str, Any]:
    steps = [
        {"color": "red", "value": None},
        {"color": "yellow", "value": RED_UNTIL},
        {"color": "green", "value": YELLOW_UNTIL},
    ]
    return {
        "id": number,
        "type": "stat",
        "title": f"{objective.name}: budget left",
        "description": f"{objective.promise}. How much of what may be otherwise in {PERIOD} is left; "
        "below 0, the promise is broken.",
        "gridPos": {"x": 0, "y": y, "w": 6, "h": HEIGHT},
        "datasource": DATASOURCE,
        "targets": [_target("A", f"{LEFT}{objective.selector}", "{{job}}")],
        "fieldConfig": {
            "defaults": {
                "unit": "percentunit",
                "noValue": f"no run in {PERIOD}",
                "thresholds": {"mode": "absolute", "steps": steps},
            },
            "overrides": [],
        },
        "options": {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}},
    }


def _burning(objective: Objective, number: int, y: int) -> dict[str, Any]:
    targets = [
        _target(
            chr(ord("A") + place),
            f"{objective.bad(burn.long)} / {objective.budget:.10g}",
            f"{burn.long} {{{{job}}}}",
        )
        for place, burn in enumerate(BURNS)
    ]
    steps = [{"color": "green", "value": None}, {"color": "yellow", "value": 1}, {"color": "red", "value": 6}]
    return {
        "id": number,
        "type": "timeseries",
        "title": f"{objective.name}: how fast it burns",
        "description": f"{objective.promise}. At 1 the budget lasts just {PERIOD}; alerts come above "
        + ", ".join(f"{burn.factor:g} in {burn.long}" for burn in BURNS)
        + ".",
        "gridPos": {"x": 6, "y": y, "w": 18, "h": HEIGHT},
        "datasource": DATASOURCE,
        "targets": targets,
        "fieldConfig": {
            "defaults": {
                "unit": "short",
                "min": 0,
                "noValue": "no runs",
                "custom": {"thresholdsStyle": {"mode": "dashed"}},
                "thresholds": {"mode": "absolute", "steps": steps},
            },
            "overrides": [],
        },
        "options": {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True}},
    }


def _target(ref: str, expr: str, legend: str) -> dict[str, Any]:
    return {"refId": ref, "expr": expr, "legendFormat": legend, "datasource": DATASOURCE}
