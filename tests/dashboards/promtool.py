"""Stories of what is scraped over time, and what promtool says the rules make of them."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from telemetry.rules import Alert
from tests.support.servers import find_promtool

Values = Sequence[float | str] | str
"""What is scraped, minute by minute, or as promtool takes it."""


def counted(*phases: tuple[int, float]) -> list[float]:
    """A counter from 0 on: so many minutes with so many more in each."""
    values, total = [0.0], 0.0
    for minutes, more in phases:
        for _ in range(minutes):
            total += more
            values.append(float(int(total + 1e-6)))
    return values


def text(values: Values) -> str:
    """The values as promtool takes them."""
    return values if isinstance(values, str) else " ".join(map(str, values))


def expected(alert: Alert, labels: Mapping[str, str], says: str) -> dict[str, Any]:
    """The alert as it is sent, with its links led to these labels."""

    def filled(template: str) -> str:
        return re.sub(r"{{ \$labels\.(\w+) \| urlquery }}", lambda found: labels[found[1]], template)

    annotations = {name: filled(said) for name, said in alert.annotations.items()}
    return {
        "exp_labels": {**alert.labels, **labels},
        "exp_annotations": annotations | {"description": says},
    }


def says_nothing(alert: str, *moments: str) -> list[dict[str, Any]]:
    """At these moments the alert does not fire."""
    return [{"alertname": alert, "eval_time": moment, "exp_alerts": []} for moment in moments]


def only(moment: str, alerts: Iterable[str], severities: str = ".*") -> dict[str, Any]:
    """At this moment no alert fires but these."""
    others = f'ALERTS{{alertstate="firing", alertname!~"{"|".join(alerts)}", severity=~"{severities}"}}'
    return {"expr": f"count({others})", "eval_time": moment, "exp_samples": []}


def assert_told(
    directory: Path,
    rules: Iterable[Path],
    series: Mapping[str, Values],
    *,
    alerts: Sequence[Mapping[str, Any]] = (),
    queries: Sequence[Mapping[str, Any]] = (),
    order: Sequence[str] = (),
    step: str = "1m",
) -> None:
    """Have promtool play the series, and fail with what it says when it does not go as expected.

    `order` is that of the groups at one moment; promtool's own is any. `step` lies between two values.
    """
    story = {
        "rule_files": [str(path) for path in rules],
        "evaluation_interval": step,
        "group_eval_order": order,
        "tests": [
            {
                "interval": step,
                "input_series": [{"series": name, "values": text(values)} for name, values in series.items()],
                "alert_rule_test": alerts,
                "promql_expr_test": queries,
            }
        ],
    }
    path = directory / "story.yaml"
    # JSON is YAML
    path.write_text(json.dumps(story, indent=1), encoding="utf-8")
    answer = subprocess.run(
        [find_promtool(), "test", "rules", str(path)], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
