"""`fluid queue` and `fluid exec`: a run from parameters that were typed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from fluid.cli.faults import CallError
from fluid.cli.showing import complain, note, show_json, show_line
from fluid.cli.target import Named, find_manager, producer_of
from fluid.cli.telling import show_evidence
from fluid.errors import FluidError
from fluid.scheduler import QueueOptions, TaskManager, TaskPriority, TaskRun
from fluid.scheduler.codec import encode_result
from fluid.scheduler.task import RESERVED_PARAMETERS

Params = dict[str, Any]


def read_params(text: str | None, pairs: Sequence[str] | None) -> Params:
    """Parameters from a JSON object and from `key=value` words, which win."""
    params = {} if text is None else _object(text)
    for pair in pairs or ():
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise CallError(f"{pair!r} is not written as KEY=VALUE")
        params[name] = _value(value)
    if reserved := RESERVED_PARAMETERS.intersection(params):
        raise CallError(
            f"no parameter can be named {', '.join(sorted(reserved))}: see --help for the options"
        )
    return params


def queue(
    target: Named,
    task: str,
    params: Params,
    *,
    priority: str | None,
    delay: float | None,
    unique_key: str | None,
    run_id: str | None,
    wait: float | None,
    broker_url: str | None,
    as_json: bool,
) -> int:
    """Queue a run; with `wait`, 1 unless it ends in success within so many seconds."""
    producer = producer_of(find_manager(target, broker_url=broker_url))
    options = QueueOptions(delay=delay, unique_key=unique_key, run_id=run_id)
    chosen = None if priority is None else TaskPriority(priority)

    async def queue_it() -> int:
        async with producer:
            if wait is None:
                run = await producer.queue(task, chosen, options=options, **params)
                _show_queued(run, as_json)
                return 0
            run = await producer.queue_and_wait(task, chosen, timeout=wait, options=options, **params)
            show_evidence(await producer.get_evidence(run.id), as_json=as_json)
            return int(run.is_failure)

    return asyncio.run(queue_it())


def execute(target: Named, task: str, params: Params, *, as_json: bool) -> int:
    """Run the body here and show what it returned; 1 unless that is a success."""
    return asyncio.run(_execute(producer_of(find_manager(target)), task, params, as_json))


async def _execute(producer: TaskManager, task: str, params: Params, as_json: bool) -> int:
    async with producer:
        run = await producer.execute(task, **params)
    result = _plain_result(run) if not run.is_failure else None
    if as_json:
        show_json(run.summary() | {"result": result})
    elif result is not None:
        show_json(result)
    if run.is_failure:
        complain(f"{run.name} ended in {run.state} ({run.reason}): {run.error}")
    return int(run.is_failure)


def _plain_result(run: TaskRun[Any]) -> Any:
    try:
        return json.loads(encode_result(run.name, run.returned))
    except TypeError as error:
        raise FluidError(f"what {run.name} returned cannot be written as JSON: {error}") from error


def _show_queued(run: TaskRun[Any], as_json: bool) -> None:
    if as_json:
        show_json(run.summary())
    else:
        show_line(run.id)
        note(f"{run.name} is {run.state} at {run.priority} priority")


def _object(text: str) -> Params:
    try:
        params = json.loads(text, parse_constant=_refuse)
    except ValueError as error:
        raise CallError(f"--params is no JSON: {error}") from None
    if not isinstance(params, dict):
        raise CallError('--params takes a JSON object, such as {"n": 1}')
    return params


def _value(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse)
    except ValueError:
        return text


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")
