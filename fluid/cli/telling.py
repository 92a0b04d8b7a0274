"""What a person or a script is told of runs and of a queue."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from fluid.cli.showing import aside, moment, note, show_facts, show_json, show_line, show_table, span
from fluid.scheduler import Snapshot, Task, TaskBroker, TaskPriority, TaskRun

DEPTHS = ("ready", "running", "scheduled", "held", "dead")
BOOKS = ("accepted", "success", "failure", "aborted", "replayed", "unaccounted")


def show_evidence(kept: Mapping[str, Any], *, as_json: bool) -> None:
    """All that is kept of a run."""
    if as_json:
        show_json(kept)
        return
    queued, start, end = (
        datetime.fromisoformat(kept[name]) if kept[name] else None for name in ("queued", "start", "end")
    )
    json_of = {name: _json(kept[name]) for name in ("params", "result", "headers") if kept.get(name)}
    show_facts(
        {
            "run": kept["id"],
            "task": kept["task"],
            "state": kept["state"],
            "reason": kept["reason"],
            "priority": kept["priority"],
            "attempt": kept["attempt"],
            "params": json_of.get("params"),
            "result": json_of.get("result"),
            "queued": moment(queued),
            "start": moment(start),
            "end": moment(end),
            "duration": span((end - start).total_seconds()) if start and end else "",
            "progress": _progress(kept.get("progress")),
            "consumer": kept["consumer"],
            "lost by": ", ".join(kept["lost_by"]),
            "from run": kept["from_run_id"],
            "replayed as": kept["replayed_as"],
            "root run": kept["root_run_id"] if kept["root_run_id"] != kept["id"] else "",
            "trace": kept["trace_id"],
            "headers": json_of.get("headers"),
            "error": kept["error"],
            "traceback": kept["traceback"],
        }
    )


def show_runs(runs: Sequence[TaskRun[Any]], *, after: str, as_json: bool) -> None:
    """A line for each run; how to see the next page, which comes `after` a run, is said aside."""
    if as_json:
        show_json([run.summary() for run in runs])
    elif runs:
        _show_table_of_runs(runs)
    else:
        note("no runs")
    if after:
        aside(json.dumps({"after": after}) if as_json else f"there are more: --after {after}")


def _show_table_of_runs(runs: Sequence[TaskRun[Any]]) -> None:
    show_table(
        ("id", "task", "state", "reason", "queued", "error"),
        [
            (
                run.id,
                run.name,
                str(run.state),
                run.reason,
                moment(run.queued),
                run.error.partition("\n")[0],
            )
            for run in runs
        ],
    )


def show_tasks(tasks: Sequence[Task], *, as_json: bool) -> None:
    """A line for each task."""
    told: list[dict[str, Any]] = [
        {
            "name": task.name,
            "priority": str(task.priority),
            "schedule": task.schedule.describe() if task.schedule else None,
            "timeout_seconds": task.timeout_seconds,
            "max_attempts": task.retry.max_attempts,
            "cpu_bound": task.cpu_bound,
            "params": task.params_model.__name__ if task.params_model else None,
            "tags": sorted(task.tags),
            "description": task.description,
        }
        for task in tasks
    ]
    if as_json:
        show_json(told)
    elif not told:
        note("no tasks")
    else:
        columns = ("name", "priority", "max_attempts", "params", "schedule", "description")
        show_table(columns, [[one[name] for name in columns] for one in told], numbers=("max_attempts",))


async def show_queue(broker: TaskBroker, *, as_json: bool) -> None:
    """How the queue stands, and who consumes it."""
    snapshot = await broker.snapshot()
    consumers = sorted(await broker.consumers(), key=lambda one: one.name)
    if as_json:
        told = msgspec.to_builtins({"queue": broker.queue, "broker": broker.url})
        told |= msgspec.to_builtins(snapshot, str_keys=True)
        show_json(told | {"consumers": msgspec.to_builtins(consumers)})
        return
    paused = ", paused: nothing is claimed" if snapshot.paused else ""
    show_line(f"queue {broker.queue} at {broker.url}{paused}")
    if snapshot.paused_tasks:
        show_line(f"paused tasks, whose runs are held: {', '.join(snapshot.paused_tasks)}")
    show_line()
    _show_depths(snapshot)
    show_line()
    show_table([*BOOKS], [[getattr(snapshot.books, name) for name in BOOKS]], numbers=BOOKS)
    show_line()
    if not consumers:
        show_line("no consumer shows signs of life")
        return
    show_table(
        ("consumer", "slots", "busy", "seen", "version", "tasks"),
        [
            (one.name, one.slots, one.busy, f"{span(one.seen)} ago", one.version, ", ".join(one.tasks))
            for one in consumers
        ],
        numbers=("slots", "busy"),
    )


def _show_depths(snapshot: Snapshot) -> None:
    rows: list[list[str | int]] = [
        [
            str(priority),
            *(getattr(snapshot.by_priority[priority], name) for name in DEPTHS),
            span(snapshot.oldest_ready_age[priority]) if snapshot.by_priority[priority].ready else "-",
        ]
        for priority in TaskPriority
    ]
    rows.append(["all", *(getattr(snapshot, name) for name in DEPTHS), ""])
    show_table(("priority", *DEPTHS, "oldest ready"), rows, numbers=(*DEPTHS, "oldest ready"))


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _progress(report: Mapping[str, Any] | None) -> str:
    if report is None:
        return ""
    of = "" if report["total"] is None else f" of {report['total']:g}"
    return f"{report['done']:g}{of} {report['message']}".rstrip()
