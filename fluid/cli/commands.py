"""The commands: what each takes, and which room does its work.

A room is loaded only when its command runs, so that `--help` answers at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated

import typer

from fluid.cli.arguments import (
    AsJson,
    BrokerUrl,
    Pairs,
    Params,
    Priority,
    RunId,
    SomeTarget,
    SomeTaskName,
    Target,
    TargetOption,
    TaskName,
)


def run(
    target: Target,
    broker_url: BrokerUrl = None,
    concurrency: Annotated[
        int | None, typer.Option(min=1, metavar="SLOTS", help="How many bodies run at once.")
    ] = None,
    host: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="The address that plugins serve on.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, metavar="PORT", help="The port that plugins serve on; 0 for any."),
    ] = None,
    plugins: Annotated[
        bool, typer.Option("--plugins/--no-plugins", help="Attach every installed plugin.")
    ] = True,
) -> int:
    """Run a consumer until it is told to stop.

    SIGTERM or Ctrl-C stops it gracefully: bodies may finish. A second one stops it at once.
    """
    from fluid.cli import running

    return running.run(
        target, broker_url=broker_url, concurrency=concurrency, host=host, port=port, plugins=plugins
    )


def queue(
    target: Target,
    task: TaskName,
    pairs: Pairs = None,
    params: Params = None,
    priority: Annotated[Priority | None, typer.Option(help="The task's own without it.")] = None,
    delay: Annotated[
        float | None, typer.Option(min=0, metavar="SECONDS", help="Seconds until it is due.")
    ] = None,
    unique_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="Refuse it while a run with this key is open.")
    ] = None,
    run_id: Annotated[
        str | None, typer.Option(metavar="ID", help="Its id; the same one is never accepted twice.")
    ] = None,
    wait: Annotated[
        float | None, typer.Option(min=0, metavar="SECONDS", help="Wait so long for its end, and show it.")
    ] = None,
    broker_url: BrokerUrl = None,
    as_json: AsJson = False,
) -> int:
    """Queue a run, and answer its id."""
    from fluid.cli import queueing

    return queueing.queue(
        target,
        task,
        queueing.read_params(params, pairs),
        priority=priority,
        delay=delay,
        unique_key=unique_key,
        run_id=run_id,
        wait=wait,
        broker_url=broker_url,
        as_json=as_json,
    )


def execute(
    target: Target, task: TaskName, pairs: Pairs = None, params: Params = None, as_json: AsJson = False
) -> int:
    """Run a body here, once, and answer its result.

    It needs no broker, and is not tried again.
    """
    from fluid.cli import queueing

    return queueing.execute(target, task, queueing.read_params(params, pairs), as_json=as_json)


def tasks(target: Target, as_json: AsJson = False) -> int:
    """List the tasks that a consumer knows."""
    from fluid.cli import asking

    return asking.tasks(target, as_json=as_json)


def status(target: SomeTarget = None, broker_url: BrokerUrl = None, as_json: AsJson = False) -> int:
    """Show the queue: its depth, its books, and who consumes it."""
    from fluid.cli import asking

    return asking.status(target, broker_url=broker_url, as_json=as_json)


def events(
    target: SomeTarget = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Show those that come, until Ctrl-C, instead.")
    ] = False,
    task: Annotated[str, typer.Option(metavar="TASK", help="Only events about runs of this task.")] = "",
    event: Annotated[str, typer.Option(metavar="EVENT", help="Only this one, such as failure.")] = "",
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="The most to show, without --follow.")] = 50,
    broker_url: BrokerUrl = None,
    as_json: AsJson = False,
) -> int:
    """Show the newest events of the whole fleet.

    Those are told by every process for which FLUID_FLEET_EVENTS is set. With --json, a line for each.
    """
    from fluid.cli import following

    return following.events(
        target,
        follow=follow,
        task=task,
        event=event,
        limit=limit,
        broker_url=broker_url,
        as_json=as_json,
    )


def cancel(run_id: RunId, target: TargetOption = None, broker_url: BrokerUrl = None) -> int:
    """End a run as aborted.

    That is done at once when it has not started; else its consumer is told.
    """
    from fluid.cli import deciding

    return deciding.cancel(run_id, target, broker_url=broker_url)


def pause(
    task: SomeTaskName = "",
    target: TargetOption = None,
    broker_url: BrokerUrl = None,
    as_json: AsJson = False,
) -> int:
    """Pause the queue, or one task.

    Nothing is claimed from a paused queue. The runs of a paused task are held. What runs goes on.
    """
    from fluid.cli import deciding

    return deciding.pause(task, target, broker_url=broker_url, as_json=as_json)


def resume(
    task: SomeTaskName = "",
    target: TargetOption = None,
    broker_url: BrokerUrl = None,
    as_json: AsJson = False,
) -> int:
    """Let a paused queue, or a paused task, go on."""
    from fluid.cli import deciding

    return deciding.resume(task, target, broker_url=broker_url, as_json=as_json)


def doctor(target: SomeTarget = None, broker_url: BrokerUrl = None, as_json: AsJson = False) -> int:
    """Walk the road of a run, and say which hop is broken and what to do.

    It answers 1 when a hop is broken. Call it where the consumer runs, with the same settings.
    """
    from fluid.cli import examining

    return examining.doctor(target, broker_url=broker_url, as_json=as_json)


COMMANDS: Mapping[str, Callable[..., int]] = {
    "run": run,
    "queue": queue,
    "exec": execute,
    "tasks": tasks,
    "status": status,
    "events": events,
    "cancel": cancel,
    "pause": pause,
    "resume": resume,
    "doctor": doctor,
}
