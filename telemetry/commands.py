"""Commands that telemetry adds to `fluid`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from fluid.errors import ConfigurationError
from fluid.scheduler import TaskManager
from telemetry.rules import GRAFANA, RUNBOOK, as_yaml
from telemetry.shipping import DATASOURCE, WRITTEN_ANEW, Site
from telemetry.slo import groups, objectives_of
from telemetry.slo_board import board, uid_of
from telemetry.slo_runbook import runbook


def rules(
    manager: TaskManager,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the files are written.")] = Path("slo"),
    grafana: Annotated[
        str, typer.Option(metavar="URL", help="Where the board will be: alerts link to it.")
    ] = GRAFANA,
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
    write(out, written.items())
    return 0


dashboards = typer.Typer(
    help="Boards and rules, and how to set up what reads them.",
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
)


@dashboards.callback()
def _dashboards() -> None:
    """Boards and rules, and how to set up what reads them."""


@dashboards.command()
def export(
    out: Annotated[Path, typer.Argument(metavar="DIR", help="Where the files are written.")],
    grafana: Annotated[
        str, typer.Option(metavar="URL", help="Where Grafana is: alerts link to its boards.")
    ] = GRAFANA,
    runbook: Annotated[
        str, typer.Option(metavar="URL", help="Where the runbook is: alerts link to its sections.")
    ] = RUNBOOK,
    datasource: Annotated[
        str, typer.Option(metavar="UID", help="Grafana's data source for metrics, which boards begin with.")
    ] = DATASOURCE,
) -> None:
    """Write boards, rules, and what sets up Prometheus, Alertmanager, Grafana, Compose and Kubernetes.

    Boards and rules are written anew; any other file that is there is yours, and left alone.
    """
    files = Site(grafana, runbook, datasource).files()
    write(out, (file for file in files if file[0].startswith(WRITTEN_ANEW) or not (out / file[0]).exists()))
    if runbook == RUNBOOK:
        typer.echo(f"alerts and boards link to {RUNBOOK}: say where your runbook is, --runbook URL", err=True)


def write(out: Path, texts: Iterable[tuple[str, str]]) -> None:
    """Write texts below a directory and say which; ConfigurationError if that cannot be."""
    for name, text in texts:
        path = out / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"{path} cannot be written: {error.strerror or error}") from error
        typer.echo(path)
