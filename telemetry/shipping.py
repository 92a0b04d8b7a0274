"""What comes with the package for those who watch: boards, rules, and how to set up what reads them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fluid.errors import ConfigurationError
from telemetry.rules import GRAFANA, RUNBOOK

DATA = Path(__file__).resolve().parent / "data"
DATASOURCE = "prometheus"
"""The uid of the data source that comes with the package."""

WRITTEN_ANEW = ("boards/", "rules/", "kubernetes/prometheus-rule.yaml")
"""What is ours alone; the rest is only begun, for people to change."""

ADDRESS = re.compile(r"https?://[\w.~:/@%+=&?,\[\]-]+")
UID = re.compile(r"[\w-]{1,40}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Site:
    """Where things are: what the files are fitted to. ConfigurationError for what cannot be an address."""

    grafana: str = GRAFANA
    runbook: str = RUNBOOK
    datasource: str = DATASOURCE
    """The uid of Grafana's data source for metrics."""

    def __post_init__(self) -> None:
        for name, address in (("grafana", self.grafana), ("runbook", self.runbook)):
            if not ADDRESS.fullmatch(address):
                raise ConfigurationError(
                    f"--{name}: an address like https://host/path is expected, without `#`, got {address!r}"
                )
        if not UID.fullmatch(self.datasource):
            raise ConfigurationError(
                "--datasource: the uid of a data source is expected, 40 letters, digits, `-`, `_` at most, "
                f"got {self.datasource!r}"
            )

    def files(self) -> Iterator[tuple[str, str]]:
        """Every file, by its path below the directory that it is exported to, with its text for this site."""
        for path in sorted(path for path in DATA.rglob("*") if path.is_file()):
            text = path.read_text(encoding="utf-8")
            fitted = self._board(text) if path.suffix == ".json" else self._linked(text)
            yield path.relative_to(DATA).as_posix(), fitted

    def _linked(self, text: str) -> str:
        return (
            text.replace(GRAFANA, self.grafana.rstrip("/"))
            .replace(RUNBOOK, self.runbook.rstrip("/"))
            .replace(f"uid: {DATASOURCE}\n", f"uid: {self.datasource}\n")
        )

    def _board(self, text: str) -> str:
        board: dict[str, Any] = json.loads(self._linked(text))
        for variable in board["templating"]["list"]:
            if variable["type"] == "datasource" and variable["query"] == "prometheus":
                variable["current"] = {"text": self.datasource, "value": self.datasource}
        return json.dumps(board, indent=2, ensure_ascii=False) + "\n"
