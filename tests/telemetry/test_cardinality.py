"""Whatever tasks are named and whatever they raise, the series stay within their budget."""

from __future__ import annotations

from collections.abc import Iterator

import aiohttp
import pytest

from fluid.scheduler import EVENTS, Event, QueueOptions, Task, TaskConsumer, TaskManager, TaskRun
from fluid.testing import Recorder
from telemetry import Telemetry, names
from telemetry.settings import TelemetrySettings
from tests.telemetry.scraping import Scrape, read, scrape, without_bounds

NAMES = 10_000
FAILING = 400
"""So many of the tasks are run, each raising an exception of a type of its own."""
BUDGET = 20
SECRET = 'sup3r "secret"\n{text} \\ of-an-error'

OF_EVERY_PROCESS = 100
"""Series of the Prometheus client about process and interpreter, with room to spare."""


def hostile_names() -> Iterator[str]:
    """Names that a task may have, and that a label or a shell might take for something else."""
    yield from (
        "other",
        "task",
        "queue",
        "le",
        "fluid_runs_started_total",
        "__name__",
        "_",
        "a" * 100,
        "x-y.z",
    )
    yield from (f"tenant.{number}-{number * 7919:x}" for number in range(NAMES))


def failing(name: str, number: int) -> Task:
    """A task that raises what no other one raises."""
    kind = type(f"Error{number}", (Exception,), {})

    async def body(ctx: TaskRun) -> None:
        raise kind(f"{SECRET} {number}")

    return Task(name=name, executor=body)


def most_series(telemetry: Telemetry) -> int:
    """How many there may be: of the budgeted tasks and `other`, of the process, of the queue and handlers."""
    of_tasks = names.SERIES_PER_TASK * (BUDGET + 1)
    of_process = sum(
        row.series
        for row in names.CATALOGUE
        if names.TASK not in row.labels and not {names.EVENT, names.HANDLER} & set(row.labels)
    )
    rows_of_handlers = sum(names.HANDLER in row.labels for row in names.CATALOGUE)
    # Handlers are registered by hand, each for one event: ours, the test's recorder, and no other.
    return of_tasks + of_process + rows_of_handlers * 4 * len(EVENTS) + OF_EVERY_PROCESS


def check_labels(seen: Scrape) -> None:
    """Every label is one of the catalogue's, with a value that is known before."""
    labels = {label.name: label for row in names.CATALOGUE for label in row.labels}
    closed: dict[str, set[str]] = {}
    for row in names.CATALOGUE:
        for label in row.labels:
            closed.setdefault(label.name, set()).update(label.values)
    for sample in (one for one in seen.samples if one.name.startswith("fluid_")):
        assert without_bounds(sample.labels) <= labels.keys() | {names.QUEUE_LABEL}, sample
        for name, value in sample.labels.items():
            if closed.get(name):
                assert value in closed[name] | {names.OTHER}, sample


@pytest.mark.timeout(180)
async def test_ten_thousand_tasks_and_any_exception_leave_the_series_within_their_budget(
    queue_url: str, no_environment: None
) -> None:
    consumer = TaskConsumer(broker_url=queue_url)
    tasks = [failing(name, number) for number, name in enumerate(hostile_names())]
    for one in tasks:
        consumer.register_task(one)
    telemetry = Telemetry(TelemetrySettings(max_tasks=BUDGET), port=0)
    telemetry.attach(consumer)
    heard = Recorder(consumer)
    async with consumer, aiohttp.ClientSession() as http:
        before = (await scrape(telemetry)).value(names.SERIES)
        run_ids = [(await consumer.queue(one)).id for one in tasks[:FAILING]]
        await heard.wait_for("failure", count=FAILING, timeout=120)
        async with http.get(f"{telemetry.url}/metrics") as answer:
            text = await answer.text()
    seen = read(text)

    assert seen.value(names.SERIES) == before <= most_series(telemetry)
    assert len(seen.samples) == seen.value(names.SERIES)
    assert seen.value(names.TASKS_OVER_BUDGET) == len(tasks) - BUDGET - 1
    # Whose task has no series of its own: each of their runs was queued, started and ended here.
    folded = FAILING - BUDGET - 1
    assert seen.value(names.RUNS_FOLDED, cause="over_budget") == 3 * folded
    assert seen.value(names.RUNS_FOLDED, cause="unregistered") == 0
    # The task that is named `other` is counted there as well.
    assert seen.value(names.RUNS_ENDED, task="other", state="failure") == folded + 1
    assert seen.value(names.RUNS_ENDED) == FAILING
    check_labels(seen)
    # the consumer's name tells its machine and its process
    values = {value for sample in seen.samples for value in sample.labels.values()}
    for word in ("sup3r", "Error", consumer.consumer_name, *run_ids):
        assert not [value for value in values if word in value]


async def test_runs_of_tasks_that_nobody_here_knows_are_counted_as_other(
    consumer: TaskConsumer, queue_url: str
) -> None:
    telemetry = Telemetry(server=False)
    telemetry.attach(consumer)
    heard = Recorder(consumer)
    async with TaskManager(broker_url=queue_url) as stranger, consumer:
        before = (await scrape(telemetry)).value(names.SERIES)
        for number, name in zip(range(50), hostile_names(), strict=False):
            await stranger.queue(failing(name, number), options=QueueOptions(run_id=f"run-{number}"))
        await heard.wait_for("held", count=50)
        seen = await scrape(telemetry)
    assert seen.value(names.SERIES) == before
    assert seen.value(names.RUNS_HELD, task="other", reason="unknown_task") == 50
    # But for the one whose task is named `other`.
    assert seen.value(names.RUNS_FOLDED, cause="unregistered") == 49
    check_labels(seen)


async def test_a_scrape_folds_nothing(consumer: TaskConsumer) -> None:
    telemetry = Telemetry(server=False)
    telemetry.attach(consumer)
    run: TaskRun = TaskRun(id="1", name="stranger", params={})
    consumer.dispatcher.dispatch("start", Event(name="start", run=run))
    for _ in range(2):
        seen = await scrape(telemetry)
        assert seen.value(names.RUNS_ACTIVE, task="other") == 1
        assert seen.value(names.RUNS_FOLDED) == 1


async def test_a_stall_that_no_body_caused_is_no_folded_run(consumer: TaskConsumer) -> None:
    telemetry = Telemetry(server=False)
    telemetry.attach(consumer)
    consumer.dispatcher.dispatch("loop_blocked", Event(name="loop_blocked", facts={"seconds": 1.0}))
    seen = await scrape(telemetry)
    assert seen.value(names.LOOP_BLOCKED, task="other") == 1
    assert seen.value(names.RUNS_FOLDED) == 0
