"""What is kept of a run that went wrong is enough to know why, after how many tries, by whom and when."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from typing import Any

import pytest

from fluid.clock import now
from fluid.scheduler import RetryPolicy, TaskRun, TaskState, task
from fluid.scheduler.history import trace_id_in
from tests.fluid.scheduler.brokers.desk import desk_at
from tests.fluid.scheduler.consuming import consuming, managing
from tests.support.queues import OwnQueue

TRACE = "0af7651916cd43dd8448eb211c80319c"


class Traced:
    """An interceptor as tracing has one: a context travels with the run."""

    @contextmanager
    def queueing(self, runs: Sequence[TaskRun[Any]]) -> Iterator[None]:
        for run in runs:
            run.headers["traceparent"] = f"00-{TRACE}-b7ad6b7169203331-01"
        yield

    def executing(self, run: TaskRun[Any]) -> AbstractContextManager[Any]:
        return nullcontext()


@task(retry=RetryPolicy(max_attempts=2, wait=0.001))
async def charge(ctx: TaskRun) -> None:
    raise ValueError("the card is void")


async def test_a_failed_run_keeps_reason_error_attempts_owners_times_and_trace(
    broker_queue: OwnQueue,
) -> None:
    before = now()
    async with (
        managing(broker_queue.url, charge) as (manager, _),
        desk_at(broker_queue.url, broker_queue) as desk,
    ):
        manager.interceptors.append(Traced())
        run = await manager.queue(charge, amount=3)
        await desk.lose(await desk.take_one("unlucky"))
        async with consuming(broker_queue.url, charge) as (consumer, heard):
            await heard.wait_for("failure")
        kept = await manager.get_evidence(run.id)
    assert (kept["state"], kept["reason"], kept["attempt"]) == ("failure", "error", 3)
    assert (kept["error"], kept["error_type"]) == ("ValueError: the card is void", "ValueError")
    assert 'raise ValueError("the card is void")' in kept["traceback"]
    assert (kept["lost_by"], kept["consumer"]) == (["unlucky"], consumer.consumer_name)
    assert (kept["trace_id"], kept["params"]) == (TRACE, {"amount": 3})
    queued, start, end = (datetime.fromisoformat(kept[name]) for name in ("queued", "start", "end"))
    assert queued <= start <= end
    assert (end - before).total_seconds() >= 0
    assert kept["task"] == "charge"
    assert TaskState(kept["state"]).is_failure


@pytest.mark.parametrize("header", ["", "no trace", "00-11"])
def test_a_run_without_a_readable_trace_has_none(header: str) -> None:
    assert trace_id_in(header) == ""
