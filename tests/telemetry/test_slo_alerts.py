"""At each speed, burning budgets are told by the right alert in the right time: played by a real promtool."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path

import pytest

from telemetry.rules import Alert, as_yaml
from telemetry.slo import BURNS, LEFT, Burn, Objective, groups
from tests.dashboards import promtool

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(300)]

RUNS = 1000
"""Runs between two scrapes."""
MINUTES = {"2m": 2, "15m": 15, "1h": 60, "3h": 180, "5m": 5, "30m": 30, "2h": 120, "6h": 360, "1d": 1440}
MINUTES |= {"3d": 3 * MINUTES["1d"], "4d": 4 * MINUTES["1d"]}
FASTER = 1.5
"""How much faster than told the budget burns."""

OBJECTIVES = (
    Objective("orders", "charge", "success", 0.999),
    Objective("orders", "charge", "start", 0.999, 5),
    Objective("orders", "charge", "finish", 0.999, 60),
)
GROUPS = list(groups(OBJECTIVES, runbook="https://runbook.test", board="https://board.test"))
ORDER = [group.name for group in GROUPS]


@pytest.fixture
def rules(tmp_path: Path) -> list[Path]:
    """The file that `fluid rules` would write."""
    path = tmp_path / "rules.yaml"
    path.write_text(as_yaml("Objectives.", GROUPS), encoding="utf-8")
    return [path]


def scraped(step: int, *phases: tuple[int, float]) -> dict[str, promtool.Values]:
    """Series of phases, so many minutes in which each budget burns at a speed."""
    speeds = [speed for minutes, speed in phases for _ in range(minutes // step)]
    bad = [round(value, 3) for value in accumulate(RUNS * 0.001 * speed for speed in speeds)]
    every = [RUNS * (number + 1) for number in range(len(speeds))]
    good = [round(total - missed, 3) for total, missed in zip(every, bad, strict=True)]
    charge = "queue='orders',task='charge',instance='a'"
    return {
        f"fluid_runs_ended_total{{{charge},state='success'}}": good,
        f"fluid_runs_ended_total{{{charge},state='failure'}}": [value / 2 for value in bad],
        f"fluid_runs_dead_total{{{charge},reason='lost_too_often'}}": [value / 2 for value in bad],
        f"fluid_run_wait_seconds_bucket{{{charge},priority='high',le='5.0'}}": good,
        f"fluid_run_wait_seconds_count{{{charge},priority='high'}}": every,
        f"fluid_run_latency_seconds_bucket{{{charge},le='60.0'}}": good,
        f"fluid_run_latency_seconds_count{{{charge}}}": every,
    }


def firing(minute: float, *burns: Burn) -> dict[str, object]:
    """At this minute, the alerts of these speeds fire for every objective, and no other."""
    return {
        "expr": "sum by (severity, window) (ALERTS{alertstate='firing'})",
        "eval_time": f"{int(minute)}m",
        "exp_samples": [
            {"labels": f"{{severity='{burn.severity}', window='{burn.long}'}}", "value": len(OBJECTIVES)}
            for burn in burns
        ],
    }


# The history is long enough for slower alerts not to be early, the step as long as the pace allows.
@pytest.mark.parametrize(
    ("burn", "history", "step"),
    list(zip(BURNS, ("6h", "1d", "3d", "3d"), (1, 5, 10, 10), strict=True)),
    ids=[burn.long for burn in BURNS],
)
def test_a_budget_that_burns_is_told_at_its_speed_in_its_time(
    burn: Burn, history: str, step: int, rules: list[Path], tmp_path: Path
) -> None:
    well, margin = MINUTES[history], 4 * step
    told = MINUTES[burn.long] / FASTER + MINUTES[burn.lasts]
    burning = int(told) + 2 * margin
    resolved = well + burning + MINUTES[burn.short] + margin
    promtool.assert_told(
        tmp_path,
        rules,
        scraped(step, (well, 0), (burning, burn.factor * FASTER), (MINUTES[burn.short] + 2 * margin, 0)),
        queries=[
            firing(well),
            firing(well + told - margin),
            firing(well + told + margin, burn),
            {
                "expr": f"count(ALERTS{{window='{burn.long}'}})",
                "eval_time": f"{int(resolved)}m",
                "exp_samples": [],
            },
        ],
        order=ORDER,
        step=f"{step}m",
    )


@pytest.mark.parametrize(("period", "step"), [("6h", 1), ("4d", 10)])
def test_a_budget_that_lasts_is_not_told(period: str, step: int, rules: list[Path], tmp_path: Path) -> None:
    minutes = MINUTES[period]
    left = [
        {"labels": f"{{queue='orders', task='charge', objective='{objective.name}'}}", "value": 0.1}
        for objective in OBJECTIVES
    ]
    promtool.assert_told(
        tmp_path,
        rules,
        scraped(step, (minutes, 0.9)),
        queries=[
            *(firing(minutes * part / 4 - step) for part in (1, 2, 3, 4)),
            {"expr": f"round({LEFT}, 0.01)", "eval_time": f"{minutes - step}m", "exp_samples": left},
        ],
        order=ORDER,
        step=f"{step}m",
    )


def test_what_an_alert_says(rules: list[Path], tmp_path: Path) -> None:
    (alert,) = [
        rule
        for group in GROUPS
        for rule in group.rules
        if isinstance(rule, Alert) and (rule.labels["objective"], rule.labels["window"]) == ("start", "1h")
    ]
    promtool.assert_told(
        tmp_path,
        rules,
        {name: values for name, values in scraped(2, (120, 100)).items() if "wait" in name},
        alerts=[
            {
                "alertname": alert.alert,
                "eval_time": "20m",
                "exp_alerts": [
                    {
                        "exp_labels": {
                            "severity": severity,
                            "window": window,
                            "queue": "orders",
                            "task": "charge",
                            "objective": "start",
                        },
                        "exp_annotations": {
                            "summary": "An objective is missed so often that its budget burns too fast.",
                            "description": "Queue orders: 99.9% of the runs of charge start within 5 s. "
                            f"In {window}, 10% did not: the budget of 30d burns more than {factor} times "
                            "too fast.",
                            "runbook_url": "https://runbook.test#charge-start",
                            "dashboard_url": "https://board.test",
                        },
                    }
                    for severity, window, factor in (("critical", "1h", "14.4"), ("critical", "6h", "6"))
                ],
            }
        ],
        order=ORDER,
        step="2m",
    )
