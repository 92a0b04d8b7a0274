"""The commands of `fluid runs`: what each takes, and which room does its work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Literal

import typer

from fluid.cli.arguments import (
    AsJson,
    BrokerUrl,
    ForReason,
    OfTask,
    RunId,
    Since,
    SomeRunIds,
    State,
    TargetOption,
    Until,
)
from fluid.cli.commands import cancel


def ls(
    state: State = None,
    task: OfTask = "",
    reason: ForReason = "",
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="The most to list.")] = 50,
    after: Annotated[
        str, typer.Option("--after", metavar="WORD", help="Go on where the page before ended, as it said.")
    ] = "",
    target: TargetOption = None,
    broker_url: BrokerUrl = None,
    as_json: AsJson = False,
) -> int:
    """List runs, those that may need a person first.

    Successes are not listed: show one by its id. Where there are more, stderr says how to go on; with --json
    as {"after": WORD}, and stdout is an array.
    """
    from fluid.cli import asking

    return asking.list_runs(
        state,
        target,
        asking.Filters(task, reason, since, until),
        limit=limit,
        after=after,
        broker_url=broker_url,
        as_json=as_json,
    )


def show(
    run_id: RunId, target: TargetOption = None, broker_url: BrokerUrl = None, as_json: AsJson = False
) -> int:
    """Show all that is kept of a run."""
    from fluid.cli import asking

    return asking.show_run(run_id, target, broker_url=broker_url, as_json=as_json)


def replay(
    run_ids: SomeRunIds = None,
    every: Annotated[
        bool, typer.Option("--all", help="All that --state and the filters name, instead of ids.")
    ] = False,
    state: Annotated[Literal["dead", "failure"] | None, typer.Option(help="With --all.")] = None,
    task: OfTask = "",
    reason: ForReason = "",
    since: Since = None,
    until: Until = None,
    target: TargetOption = None,
    broker_url: BrokerUrl = None,
    as_json: AsJson = False,
) -> int:
    """Give runs another chance.

    A dead one is ready again; of a failed one, a new run is queued. --all leaves out failed ones that were
    replayed before, so that it can be called again when it was stopped.
    """
    from fluid.cli import asking, deciding

    return deciding.replay(
        run_ids or [],
        target,
        every=every,
        state=state,
        filters=asking.Filters(task, reason, since, until),
        broker_url=broker_url,
        as_json=as_json,
    )


def discard(
    run_ids: SomeRunIds = None,
    every: Annotated[
        bool, typer.Option("--all", help="All dead runs that the filters name, instead of ids.")
    ] = False,
    task: OfTask = "",
    reason: ForReason = "",
    since: Since = None,
    until: Until = None,
    target: TargetOption = None,
    broker_url: BrokerUrl = None,
) -> int:
    """End dead runs as aborted."""
    from fluid.cli import asking, deciding

    filters = asking.Filters(task, reason, since, until)
    return deciding.discard(run_ids or [], target, every=every, filters=filters, broker_url=broker_url)


RUN_COMMANDS: Mapping[str, Callable[..., int]] = {
    "ls": ls,
    "show": show,
    "replay": replay,
    "discard": discard,
    "cancel": cancel,
}
