"""The arguments and options that commands share: how each is written, and what its help says."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Annotated, Literal

import typer

from fluid.clock import now

TARGET = "MODULE:CONSUMER"
AGE = re.compile(r"(\d+)(s|min|h|d)")
AGE_UNITS = {"s": "seconds", "min": "minutes", "h": "hours", "d": "days"}


def read_moment(text: str) -> datetime:
    """An instant, written as one or as an age; without a zone it is in the time of this machine."""
    try:
        if age := AGE.fullmatch(text):
            return now() - timedelta(**{AGE_UNITS[age[2]]: int(age[1])})
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"{text!r} is no time: write 2026-01-31 or 2026-01-31T08:30, with Z or +02:00 behind it unless "
            "it is in the time of this machine; or an age: 90s, 15min, 6h, 7d"
        ) from None


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
        parser=read_moment,
        help="Only what failed, died, is due or became ready from then on: 2026-01-31, or 2026-01-31T08:30, "
        "in the time of this machine; or an age, such as 15min, 6h or 7d.",
    ),
]
Until = Annotated[
    datetime | None, typer.Option("--until", metavar="TIME", parser=read_moment, help="Only until then.")
]
RunId = Annotated[str, typer.Argument(metavar="ID", help="The id of the run.")]
SomeRunIds = Annotated[list[str] | None, typer.Argument(metavar="ID", help="The ids of the runs.")]
