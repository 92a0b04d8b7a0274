"""What an alert says, before thresholds and names are filled in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dashboards.rules.thresholds import Thresholds
from dashboards.uids import Uid
from telemetry.rules import GRAFANA, RUNBOOK, Alert, Group


@dataclass(frozen=True, slots=True, kw_only=True)
class Symptom:
    """Something that should not be. In its texts `@name` is a threshold or a metric of the catalogue."""

    name: str
    summary: str
    description: str
    expr: str
    board: Uid
    of: tuple[str, ...] = ("job", "queue")
    """The labels of the alert that the board is opened with."""

    def alert(self, thresholds: Thresholds) -> Alert:
        """The alert; KeyError for what no table and no catalogue has."""
        table = thresholds.table(self.name)
        chosen = "&".join(f"var-{label}={{{{ $labels.{label} | urlquery }}}}" for label in self.of)
        return Alert(
            alert=self.name,
            expr=thresholds.fill(self.name, self.expr.strip()),
            lasts=table["for"],
            labels={"severity": table["severity"]},
            annotations={
                "summary": self.summary,
                "description": thresholds.fill(self.name, " ".join(self.description.split())),
                "runbook_url": f"{RUNBOOK}#{self.name.lower()}",
                "dashboard_url": f"{GRAFANA}/d/{self.board}?{chosen}",
            },
        )


def group(name: str, symptoms: Iterable[Symptom], thresholds: Thresholds) -> Group:
    """The alerts of these symptoms."""
    return Group(name, [symptom.alert(thresholds) for symptom in symptoms])
