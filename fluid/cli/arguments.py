"""The arguments and options that commands share: how each is written, and what its help says."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import typer

TARGET = "MODULE:CONSUMER"
MOMENTS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"]

Target = Annotated[
    str,
    typer.Argument(metavar=TARGET, help="Where the consumer is: an instance, or a function that makes it."),
]
SomeTarget = Annotated[str | None, typer.Argument(metavar=TARGET, help="The consumer whose queue is meant.")]
TargetOption = Annotated[
    str | None, typer.Option("--consumer", metavar=TARGET, help="The consumer whose queue is meant.")
]
BrokerUrl = Annotated[
    str | None,
    typer.Option(
        "--broker-url",
        metavar="URL",
        help="Where runs are kept. Without it: FLUID_BROKER_URL, else the embedded broker of this directory.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON, for scripts.")]

TaskName = Annotated[str, typer.Argument(metavar="TASK", help="The name of the task.")]
SomeTaskName = Annotated[
    str, typer.Argument(metavar="TASK", help="The name of the task; the whole queue without it.")
]
Pairs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE",
        help="Parameters. A value that is JSON is taken as that (n=3, tags='[\"a\"]', zip='\"01\"'), "
        "any other as text.",
    ),
]
Params = Annotated[
    str | None, typer.Option("--params", metavar="JSON", help="Parameters as a JSON object; KEY=VALUE wins.")
]

Priority = Literal["high", "medium", "low"]
ListedState = Literal["dead", "failure", "held", "running", "queued", "scheduled"]
"""The states whose runs can be listed, those that may need a person first."""

State = Annotated[ListedState | None, typer.Option("--state", help="Only runs in this state.")]
OfTask = Annotated[str, typer.Option("--task", metavar="TASK", help="Only runs of this task.")]
ForReason = Annotated[str, typer.Option("--reason", metavar="WORD", help="Only those with this reason.")]
Since = Annotated[
    datetime | None,
    typer.Option(
        "--since",
        metavar="TIME",
        formats=MOMENTS,
        help="Only what failed, died, is due or became ready from then on: 2026-01-31, "
        "or 2026-01-31T08:30:00; in the time of this machine.",
    ),
]
Until = Annotated[
    datetime | None, typer.Option("--until", metavar="TIME", formats=MOMENTS, help="Only until then.")
]
RunId = Annotated[str, typer.Argument(metavar="ID", help="The id of the run.")]
RunIds = Annotated[list[str], typer.Argument(metavar="ID", help="The ids of the runs.")]
SomeRunIds = Annotated[list[str] | None, typer.Argument(metavar="ID", help="The ids of the runs.")]
