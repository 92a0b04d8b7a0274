"""`python -m tests.bench.check`: whether a run costs more than its budget, counted and not timed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from tests.support.processes import ROOT
from tests.support.servers import RedisServer

BUDGET = Path(__file__).with_name("budget.toml")
SECONDS = 60.0


class Cost(NamedTuple):
    """One figure beside what it may be."""

    parts: str
    what: str
    budget: float
    counted: float
    margin: float

    @property
    def is_over(self) -> bool:
        """It has grown by more than the margin."""
        return self.counted > self.budget * (1 + self.margin)

    def __str__(self) -> str:
        change = self.counted / self.budget - 1
        verdict = f"MORE than the margin of {self.margin:.0%}" if self.is_over else "good"
        figures = f"{self.counted:9.3f}  budget {self.budget:9.3f}  {change:+.1%}"
        return f"{self.parts:12} {self.what:12} {figures}  {verdict}"


def count(server: RedisServer, parts: str, **variables: str) -> dict[str, float]:
    """What a run costs with these parts of telemetry on; no trace is sampled, unless the variables say so."""
    with server.client() as client:
        client.flushall()
    with tempfile.TemporaryDirectory(prefix="fluid-bench-") as directory:
        counted = Path(directory) / "counted.json"
        told = {
            "PYTHONPATH": str(ROOT),
            "BENCH_URL": f"redis://127.0.0.1:{server.port}",
            "BENCH_MODE": parts,
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1/v1/traces",
            "OTEL_TRACES_SAMPLER": "always_off",
        }
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("FLUID_", "OTEL_"))}
        done = subprocess.run(
            [sys.executable, "-m", "tests.bench.counting", counted],
            cwd=ROOT,
            env=kept | told | variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        if done.returncode:
            raise AssertionError(f"nothing could be counted:\n{done.stderr[-3000:]}")
        found: dict[str, float] = json.loads(counted.read_text())
        return found


def costs(parts: str, budget: Mapping[str, float], counted: Mapping[str, float], margin: float) -> list[Cost]:
    """Each figure of the budget beside what was counted."""
    return [Cost(parts, what, most, counted[what], margin) for what, most in budget.items()]


def check() -> Iterator[Cost]:
    """Count everything that has a budget."""
    budget = tomllib.loads(BUDGET.read_text())
    margin = budget.pop("margin")
    with RedisServer("redis") as server:
        for name, figures in budget.items():
            yield from costs(name, figures, count(server, figures.pop("parts")), margin)


def main() -> int:
    """0 when all is within the budget."""
    found = []
    for cost in check():
        sys.stdout.write(f"{cost}\n")
        found.append(cost)
    if any(cost.is_over for cost in found):
        sys.stdout.write(
            f"A run costs more than it did. If it is worth it, say so in {BUDGET.relative_to(ROOT)}.\n"
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
