"""`fluid events`: what the whole fleet tells, the newest or as it comes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from typing import Any

import msgspec

from fluid.cli.showing import moment, note, show_line, show_row, span
from fluid.cli.signals import stopping_on_signals
from fluid.cli.target import Named, find_queue
from fluid.scheduler import FleetEvent, TaskManager

WIDTHS = (12, 14, 16, 36, 0)
"""Of the instant, the event, the task and the run; what is told besides comes last."""

IN_COLUMNS = ("consumer", "task", "run_id")
"""Facts that have a place of their own in a row."""


def events(
    target: Named | None,
    *,
    follow: bool,
    task: str,
    event: str,
    limit: int,
    broker_url: str | None,
    as_json: bool,
) -> int:
    """Show events; without `follow` the newest that are kept."""

    async def show() -> int:
        async with find_queue(target, broker_url=broker_url) as manager:
            if follow:
                await _until_stopped(_follow(manager, task, event, as_json=as_json))
            else:
                await _show_kept(manager, task, event, limit, as_json=as_json)
        return 0

    return asyncio.run(show())


async def _until_stopped(following: Coroutine[Any, Any, None]) -> None:
    task = asyncio.create_task(following)

    def stop(_: str) -> None:
        task.cancel()

    with stopping_on_signals(stop), suppress(asyncio.CancelledError):
        await task


async def _follow(manager: TaskManager, task: str, event: str, *, as_json: bool) -> None:
    async with aclosing(manager.events(task=task, event=event)) as told:
        async for one in told:
            _show(one, as_json=as_json)


async def _show_kept(manager: TaskManager, task: str, event: str, limit: int, *, as_json: bool) -> None:
    newest: deque[FleetEvent] = deque(maxlen=limit)
    async with aclosing(manager.events(task=task, event=event, follow=False)) as told:
        async for one in told:
            newest.append(one)
    for one in newest:
        _show(one, as_json=as_json)
    if not newest:
        note("no events; processes tell them when FLUID_FLEET_EVENTS says how many shall be kept")


def _show(event: FleetEvent, *, as_json: bool) -> None:
    if as_json:
        show_line(msgspec.json.encode(event).decode())
        return
    if event.missed:
        show_line(f"({event.missed} more came and went unread)")
    at = f"{event.at.astimezone():%H:%M:%S.%f}"[:-3]
    # an event about a consumer may have them as facts
    task = event.task or event.facts.get("task", "")
    run_id = event.run_id or event.facts.get("run_id", "")
    show_row((at, event.name, task, run_id, _rest(event)), WIDTHS)


def _rest(event: FleetEvent) -> str:
    times = ("waited", "ran", "latency", "delay")
    said = [event.reason, f"attempt {event.attempt}" if event.attempt > 1 else ""]
    said += [f"{name} {span(seconds)}" for name in times if (seconds := getattr(event, name)) is not None]
    said += [f"last owner {event.owner}" if event.owner else ""]
    said += [f"{name} {_fact(name, value)}" for name, value in event.facts.items() if name not in IN_COLUMNS]
    return ", ".join([*filter(None, said), f"by {event.consumer}"])


def _fact(name: str, value: Any) -> Any:
    match name:
        case "seconds" | "lateness":
            return span(value)
        case "tick" | "next":
            return moment(datetime.fromtimestamp(value, UTC)) if value is not None else "never"
    return value
