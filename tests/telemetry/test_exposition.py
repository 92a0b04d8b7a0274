"""What is served is the catalogue: whole, at zero from the start, in formats that others read."""

from __future__ import annotations

import asyncio
import subprocess
from itertools import product

import pytest
from prometheus_client.exposition import choose_encoder

from fluid import __version__
from fluid.scheduler import Event, TaskConsumer, TaskRun, TaskScheduler, TaskState
from telemetry import Telemetry, exposition, names, resting
from telemetry.names import CATALOGUE, Kind, Metric
from telemetry.series import Block, Counts, rows_of
from tests.support.servers import RedisServer, find_promtool
from tests.telemetry.conftest import TASKS
from tests.telemetry.scraping import OPENMETRICS, Scrape, labels_of, read, scrape, without_bounds

TEXT = "text/plain; version=0.0.4"
QUEUE = "first-scrape"
OF_THE_CLIENT = ("process_", "python_")


async def hear(event: Event) -> None:
    """An async handler, so that there are series of one."""


@pytest.fixture(scope="module")
def first_scrape(valkey_server: RedisServer) -> Scrape:
    """The very first scrape of a scheduler with an async handler; nothing has happened yet."""

    async def attach_and_scrape() -> Scrape:
        scheduler = TaskScheduler(broker_url=valkey_server.queue_url(QUEUE))
        scheduler.register_from_dict(TASKS)
        scheduler.register_async_handler("end.hear", hear)
        telemetry = Telemetry(server=False)
        telemetry.attach(scheduler)
        try:
            return await scrape(telemetry)
        finally:
            await scheduler.broker.close()

    return asyncio.run(attach_and_scrape())


@pytest.mark.parametrize("row", CATALOGUE, ids=lambda row: row.name)
def test_every_series_of_the_catalogue_is_there_from_the_start(first_scrape: Scrape, row: Metric) -> None:
    samples = first_scrape.of(row)
    assert samples, "in the catalogue, but not served"
    assert {frozenset(without_bounds(one.labels)) for one in samples} == {
        frozenset({"queue", *(label.name for label in row.labels)})
    }
    closed = [label for label in row.labels if label.values]
    opened = [label for label in row.labels if not label.values]
    for values in labels_of(samples, *(label.name for label in opened)):
        own = [one for one in samples if values == tuple(one.labels[label.name] for label in opened)]
        assert labels_of(own, *(label.name for label in closed)) == set(
            product(*(label.values for label in closed))
        )
        assert len(own) == row.series


def test_what_is_served_is_in_the_catalogue(first_scrape: Scrape) -> None:
    known = {one.name for row in CATALOGUE for one in first_scrape.of(row)}
    strangers = {one.name for one in first_scrape.samples} - known
    assert {name for name in strangers if not name.startswith(OF_THE_CLIENT)} == set()


def test_every_series_carries_the_queue(first_scrape: Scrape) -> None:
    assert labels_of(first_scrape.samples, "queue") == {(QUEUE,)}


COUNTED = [row for row in CATALOGUE if names.TASK in row.labels and row is not names.SCHEDULE_NEXT_FIRE]


@pytest.mark.parametrize("row", COUNTED, ids=lambda row: row.name)
def test_tasks_start_at_zero(first_scrape: Scrape, row: Metric) -> None:
    assert {one.value for one in first_scrape.of(row)} == {0}


def test_tasks_have_the_series_that_are_budgeted(first_scrape: Scrape) -> None:
    by_task = {
        task: sum(one.labels.get("task") == task for one in first_scrape.samples)
        for task in (*TASKS, names.OTHER)
    }
    assert by_task == {
        "greet": names.SERIES_PER_TASK,
        "stumble": names.SERIES_PER_TASK,
        "sweep": names.SERIES_PER_TASK + names.SERIES_PER_SCHEDULE,
        names.OTHER: names.SERIES_PER_TASK,
    }


def test_the_count_of_series_is_right(first_scrape: Scrape) -> None:
    assert first_scrape.value(names.SERIES) == len(first_scrape.samples)


def test_the_version_is_told(first_scrape: Scrape) -> None:
    assert first_scrape.value(names.BUILD, version=__version__) == 1


def test_no_creation_times_are_served(first_scrape: Scrape) -> None:
    assert [one.name for one in first_scrape.samples if one.name.endswith("_created")] == []


async def test_only_a_scheduler_tells_of_schedules(consumer: TaskConsumer) -> None:
    telemetry = Telemetry(server=False)
    telemetry.attach(consumer)
    seen = await scrape(telemetry)
    assert [row.name for row in CATALOGUE if row.scope is names.Scope.scheduler and seen.of(row)] == []


def _without_the_process(text: bytes) -> list[bytes]:
    # The two are rendered one after the other, and the process goes on meanwhile.
    moving = (b"process_", b"python_gc_")
    return [line for line in text.splitlines() if not line.split(b" ")[-2].startswith(moving)]


@pytest.mark.parametrize("accept", [TEXT, OPENMETRICS, ""])
async def test_it_is_what_the_prometheus_client_would_write(consumer: TaskConsumer, accept: str) -> None:
    telemetry = Telemetry(server=False)
    telemetry.attach(consumer)
    encode, content_type = choose_encoder(accept)
    run: TaskRun = TaskRun(id="1", name="greet", params={}, state=TaskState.success)
    for latency in (0.0, 0.02, 4000.0):
        consumer.dispatcher.dispatch("end", Event(name="end", run=run, latency=latency))
        written = await telemetry.expose(accept)
        assert written.content_type == content_type
        assert _without_the_process(written.body) == _without_the_process(encode(telemetry.registry))


@pytest.mark.parametrize("accept", [TEXT, OPENMETRICS])
async def test_label_values_are_escaped(consumer: TaskConsumer, accept: str) -> None:
    telemetry = Telemetry(server=False)
    telemetry.attach(consumer)
    awkward = 'a "quoted" \\ name\nin two lines'
    consumer.register_async_handler(f"end.{awkward}", hear)
    seen = read((await telemetry.expose(accept)).body.decode())
    assert seen.value(names.HANDLER_QUEUE, handler=awkward) == 0


async def test_a_scraper_that_asks_for_many_formats_fills_no_memory(consumer: TaskConsumer) -> None:
    telemetry = Telemetry(server=False)
    telemetry.attach(consumer)
    for minor in range(20):
        await telemetry.expose(f"application/openmetrics-text; version=1.{minor}.0")
    assert telemetry._attachment is not None
    assert len(telemetry._attachment._renderer._writers) <= 4


@pytest.mark.servers
async def test_promtool_finds_nothing_to_say(scheduler: TaskScheduler) -> None:
    promtool = find_promtool()
    scheduler.register_async_handler("end.hear", hear)
    telemetry = Telemetry(server=False)
    telemetry.attach(scheduler)
    text = (await telemetry.expose(TEXT)).body.decode()
    checked = subprocess.run(  # noqa: ASYNC221 - nothing else runs in this loop
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_the_kinds_of_the_catalogue_are_all_in_use() -> None:
    assert {row.kind for row in CATALOGUE} == set(Kind)


def test_each_piece_that_is_rendered_lets_the_loop_have_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    rests: list[float] = []
    monkeypatch.setattr(resting, "sleep", rests.append)
    monkeypatch.setattr(resting, "AFTER", 0.0)
    counts = Counts({"low": 1, "high": 1})
    block = Block()
    block.rows[names.RUNS_QUEUED] = counts

    def write() -> int:
        rests.clear()
        list(writer.write(rows_of({("greet",): block})))
        return len(rests)

    writer = exposition.Writer(choose_encoder(TEXT)[0], QUEUE)
    assert write() == 2
    assert write() == 0, "nothing has changed, so nothing is rendered"
    counts.add("low")
    assert write() == 1
