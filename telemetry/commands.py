"""Commands that telemetry adds to `fluid`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from fluid.errors import ConfigurationError
from fluid.scheduler import TaskManager
from telemetry.rules import as_yaml
from telemetry.slo import groups, objectives_of
from telemetry.slo_board import board, uid_of
from telemetry.slo_runbook import runbook


def rules(
    manager: TaskManager,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the files are written.")] = Path("slo"),
    grafana: Annotated[
        str, typer.Option(metavar="URL", help="Where the board will be: alerts link to it.")
    ] = "http://localhost:3000",
    runbook_url: Annotated[
        str, typer.Option("--runbook", metavar="URL", help="Where the runbook will be: alerts link to it.")
    ] = "runbook.md",
) -> int:
    """Write rules, a board and a runbook for the objectives of tasks.

    The runbook is only begun: one that is there is left alone.
    """
    queue = manager.broker.queue
    objectives = list(objectives_of(queue, manager.registry.values()))
    if not objectives:
        raise ConfigurationError(
            "no task promises anything: declare an objective, @task(slo=SLO(success=0.999, start_within=5))"
        )
    head = f"Written by `fluid rules`: the objectives of queue {queue}."
    place = f"{grafana.rstrip('/')}/d/{uid_of(queue)}"
    written = {
        "rules.yaml": as_yaml(head, groups(objectives, runbook=runbook_url, board=place)),
        "board.json": json.dumps(board(queue, objectives), indent=2) + "\n",
    }
    if not (out / "runbook.md").exists():
        written["runbook.md"] = runbook(queue, objectives)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in written.items():
            (out / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{out} cannot be written to: {error.strerror or error}") from error
    for name in written:
        typer.echo(out / name)
    return 0
