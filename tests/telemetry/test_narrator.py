"""Events are told in lines: which ones, at which level, with what."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from fluid.scheduler import EVENTS, Abort, RetryPolicy, TaskConsumer, TaskManager, TaskRun, task
from fluid.testing import Recorder
from telemetry import Telemetry, names
from telemetry.logs import RUNS_LOGGER
from telemetry.narrator import ENDS, LEVELS, NOT_TOLD, SAID_BY_THE_CORE
from telemetry.plugin import TelemetryPlugin
from tests.support.processes import PythonProcess
from tests.support.proxy import CuttingProxy
from tests.support.servers import RedisServer, queue_url
from tests.telemetry import jobs
from tests.telemetry.logbook import Logbook
from tests.telemetry.scraping import scrape


@pytest.fixture
def logbook(tmp_path: Path) -> Iterator[Logbook]:
    """Logging is configured, into a file."""
    logbook = Logbook(tmp_path / "log")
    logbook.begin()
    yield logbook
    logbook.end()


def test_every_event_is_told_or_is_left_out_for_a_reason() -> None:
    assert LEVELS.keys() | SAID_BY_THE_CORE | NOT_TOLD == EVENTS.keys()
    assert not LEVELS.keys() & (SAID_BY_THE_CORE | NOT_TOLD)
    assert LEVELS.keys() > ENDS


async def test_an_attempt_has_one_line_at_its_start_and_one_at_its_end(
    consumer: TaskConsumer, logbook: Logbook
) -> None:
    Telemetry(server=False).attach(consumer)
    async with consumer:
        run = await consumer.queue_and_wait("greet", timeout=20)
        ids = {"task": "greet", "run_id": run.id, "attempt": 1, "consumer": consumer.consumer_name}
    start, end = (line for line in logbook.lines if line.get("run_id") == run.id)
    assert start == ids | {
        "timestamp": start["timestamp"],
        "level": "info",
        "logger": RUNS_LOGGER,
        "message": "attempt started",
        "event": "start",
        "waited": start["waited"],
    }
    assert end == ids | {
        "timestamp": end["timestamp"],
        "level": "info",
        "logger": RUNS_LOGGER,
        "message": "run succeeded",
        "event": "success",
        "outcome": "success",
        "waited": start["waited"],
        "ran": end["ran"],
        "latency": end["latency"],
    }
    assert min(start["waited"], end["ran"], end["latency"]) >= 0
    assert start["timestamp"] < end["timestamp"]
    assert logbook.of("consumer_started")
    assert logbook.of("consumer_stopped")


async def test_lines_name_the_consumer_as_it_is_called_in_this_life(
    consumer: TaskConsumer, logbook: Logbook
) -> None:
    Telemetry(server=False).attach(consumer)
    for _ in range(2):
        async with consumer:
            run = await consumer.queue_and_wait("greet", timeout=20)
            name = consumer.consumer_name
        assert {line["consumer"] for line in logbook.lines if line.get("run_id") == run.id} == {name}
    assert len({line["consumer"] for line in logbook.of("start")}) == 2


async def test_what_a_run_says_stands_between_the_lines_of_its_start_and_its_end(
    queue_url: str, logbook: Logbook
) -> None:
    @task
    async def talk(ctx: TaskRun) -> None:
        ctx.logger.info("in the middle")

    consumer = TaskConsumer(broker_url=queue_url, max_concurrent_tasks=8)
    consumer.register_task(talk)
    heard = Recorder(consumer)
    Telemetry(server=False).attach(consumer)
    async with consumer:
        await consumer.queue_many(talk, [{}] * 200)
        await heard.wait_for("success", count=200)
    told: dict[str, list[str]] = {}
    for line in logbook.lines:
        if "run_id" in line:
            told.setdefault(line["run_id"], []).append(line["message"])
    assert len(told) == 200
    assert set(map(tuple, told.values())) == {("attempt started", "in the middle", "run succeeded")}


def test_a_run_that_ends_well_is_told_of_by_its_end_alone(consumer: TaskConsumer) -> None:
    Telemetry(server=False).attach(consumer)
    wanted = {event for event in EVENTS if consumer.dispatcher.wants(event)}
    assert {"start", "end"} < wanted
    assert not wanted & {"success", "failure", "aborted"}


async def test_trouble_is_told_with_its_reason(consumer: TaskConsumer, logbook: Logbook) -> None:
    @task(retry=RetryPolicy(max_attempts=2, wait=0.01))
    async def insist(ctx: TaskRun) -> None:
        raise LookupError("not there")

    @task
    async def give_up(ctx: TaskRun) -> None:
        raise Abort("no need")

    consumer.register_task(insist)
    consumer.register_task(give_up)
    Telemetry(server=False).attach(consumer)
    async with consumer:
        failed = await consumer.queue_and_wait("insist", timeout=20)
        aborted = await consumer.queue_and_wait("give_up", timeout=20)
    (retry,), (failure,) = logbook.of("retry", failed.id), logbook.of("failure", failed.id)
    assert (retry["level"], retry["attempt"], retry["outcome"], retry["reason"]) == (
        "warning",
        1,
        "retry",
        "error",
    )
    assert retry["delay"] > 0
    assert (failure["level"], failure["attempt"], failure["outcome"]) == ("error", 2, "failure")
    for line in (retry, failure):
        assert line["error"] == "LookupError: not there"
        assert line["exception"].splitlines()[-1] == line["error"]
    (end,) = logbook.of("aborted", aborted.id)
    assert (end["level"], end["reason"], "exception" in end) == ("warning", "abort_asked", False)
    assert [line["attempt"] for line in logbook.of("start", failed.id)] == [1, 2]


async def test_a_local_run_is_told_as_one(queue_url: str, logbook: Logbook) -> None:
    manager = TaskManager(broker_url=queue_url)
    manager.register_task(jobs.say)
    Telemetry(server=False).attach(manager)
    run = await manager.execute("say")
    assert [line["local"] for line in (*logbook.of("start", run.id), *logbook.of("success", run.id))] == [
        True,
        True,
    ]
    assert logbook.saying("said")["run_id"] == run.id


async def test_lines_of_what_goes_well_can_be_turned_off(consumer: TaskConsumer, logbook: Logbook) -> None:
    logbook.begin(runs=False)
    Telemetry(server=False).attach(consumer)
    async with consumer:
        await consumer.queue_and_wait("greet", timeout=20)
        await consumer.queue_and_wait("stumble", timeout=20)
    assert [line["event"] for line in logbook.lines if line["logger"] == RUNS_LOGGER] == ["failure"]


async def test_who_has_set_up_logging_himself_gets_records_with_the_ids(
    consumer: TaskConsumer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, RUNS_LOGGER)
    Telemetry(server=False).attach(consumer)
    async with consumer:
        run = await consumer.queue_and_wait("greet", timeout=20)
    records = [record for record in caplog.records if getattr(record, "run_id", "") == run.id]
    assert [(vars(record)["event"], vars(record)["attempt"]) for record in records] == [
        ("start", 1),
        ("success", 1),
    ]
    assert records[0].getMessage() == f"attempt started: {run.id}"


async def test_nothing_is_remembered_of_a_run_that_has_ended(consumer: TaskConsumer) -> None:
    telemetry = Telemetry(server=False)
    telemetry.attach(consumer)
    attachment = telemetry._attachment
    assert attachment is not None
    async with consumer:
        await consumer.queue_and_wait("greet", timeout=20)
        await consumer.queue_and_wait("stumble", timeout=20)
    assert not attachment.runs._runs


async def test_little_is_remembered_of_runs_whose_end_is_not_told_while_the_handler_is_paused(
    queue_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    slots, spare = 3, 10
    monkeypatch.setattr("telemetry.current.MOST_UNTOLD", spare)
    gate = asyncio.Event()

    @task
    async def linger(ctx: TaskRun) -> None:
        await gate.wait()

    @task
    async def pass_by(ctx: TaskRun) -> None: ...

    consumer = TaskConsumer(broker_url=queue_url, max_concurrent_tasks=slots)
    consumer.register_from_dict({"linger": linger, "pass_by": pass_by})
    telemetry = Telemetry(server=False)
    telemetry.attach(consumer)
    attachment = telemetry._attachment
    assert attachment is not None

    def fail(run: TaskRun) -> None:
        raise RuntimeError("out of order")

    heard = Recorder(consumer)
    remembered: list[int] = []
    async with consumer:
        lingering = await consumer.queue(linger)
        await heard.wait_for("start", lingering.id)
        with monkeypatch.context() as broken:
            broken.setattr(attachment.runs, "take", fail)
            for _ in range(4):
                await consumer.queue_many(pass_by, [{}] * 25)
                await heard.wait_for("success", count=25 * (len(remembered) + 1))
                remembered.append(len(attachment.runs._runs))
        assert max(remembered) <= 1 + spare + 4 * slots
        # its end has all that its start had
        assert lingering.id in {run.id for run in attachment.runs._runs}
        gate.set()
        await heard.wait_for("success", lingering.id)


@pytest.mark.parametrize("who", ["stdlib", "structlog"])
def test_the_command_leaves_alone_who_has_set_up_logging_himself(
    who: str, consumer: TaskConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = logging.getLogger()
    mine = [logging.NullHandler()] if who == "stdlib" else []
    monkeypatch.setattr(root, "handlers", mine)
    if who == "structlog":
        structlog.configure(processors=[structlog.processors.KeyValueRenderer()])
    try:
        plugin = TelemetryPlugin()
        plugin.attach(consumer)
        plugin.detach()
        assert root.handlers == mine
    finally:
        structlog.reset_defaults()


async def test_the_command_logs_lines_with_ids_of_its_own_accord(queue_url: str, tmp_path: Path) -> None:
    env = {"FLUID_BROKER_URL": queue_url, "FLUID_TELEMETRY_PORT": "0"}
    manager = TaskManager(broker_url=queue_url)
    manager.register_task(jobs.say)
    async with (
        PythonProcess(
            "-m", "fluid.cli", "run", "tests.telemetry.jobs:consumer", output=tmp_path / "said", env=env
        ) as process,
        manager,
    ):
        run = await manager.queue_and_wait("say", timeout=30)
        line = json.loads((await process.wait_for_line('"message":"said"')).string)
        assert (line["run_id"], line["task"], line["attempt"]) == (run.id, "say", 1)
        await process.wait_for_line('"event":"success"')


async def test_the_rescuer_tells_which_attempt_was_lost_and_with_whom(
    queue_url: str, tmp_path: Path, logbook: Logbook
) -> None:
    rescuer = TaskConsumer(broker_url=queue_url, lease_seconds=1.0)
    rescuer.register_task(jobs.outlive)
    heard = Recorder()
    rescuer.dispatcher.register_handler("lost.test", heard)
    telemetry = Telemetry(server=False)
    telemetry.attach(rescuer)
    victim = PythonProcess(
        "-m",
        "fluid.cli",
        "run",
        "tests.telemetry.jobs:consumer",
        "--no-plugins",
        output=tmp_path / "said",
        env={"FLUID_BROKER_URL": queue_url, "FLUID_LEASE_SECONDS": "1"},
    )
    async with victim, TaskManager(broker_url=queue_url) as manager:
        manager.register_task(jobs.outlive)
        run = await manager.queue("outlive")
        await victim.wait_for_line("begun")
        owner = (await manager.get_evidence(run.id))["consumer"]
        victim.kill()
        async with rescuer:
            await heard.wait_for("lost", run.id)
            assert await run.result(timeout=30) == "rescued"
            assert (await scrape(telemetry)).value(names.RUNS_LOST, task="outlive") == 1
    (lost,) = logbook.of("lost", run.id)
    assert (lost["task"], lost["attempt"], lost["owner"]) == ("outlive", 1, owner)
    assert lost["consumer"] == logbook.of("consumer_started")[0]["consumer"] != owner
    assert lost["level"] == "warning"
    assert [line["attempt"] for line in logbook.of("start", run.id)] == [2]


async def test_a_broker_that_goes_away_is_told_once_as_it_goes_and_as_it_comes_back(
    valkey_server: RedisServer, logbook: Logbook, no_environment: None
) -> None:
    heard = Recorder()
    async with CuttingProxy(valkey_server.port) as proxy:
        consumer = TaskConsumer(broker_url=queue_url_of(proxy))
        Telemetry(server=False).attach(consumer)
        for event in ("consumer_started", "broker_lost", "broker_recovered"):
            consumer.dispatcher.register_handler(f"{event}.test", heard)
        async with consumer:
            await heard.wait_for("consumer_started")
            proxy.refuse()
            await heard.wait_for("broker_lost")
            await proxy.accept()
            await heard.wait_for("broker_recovered")
        for event in ("broker_lost", "broker_recovered"):
            assert len(logbook.of(event)) == len(heard.of(event))


def queue_url_of(proxy: CuttingProxy) -> str:
    return queue_url("valkey", proxy.port, "test-narrator")


async def test_a_cancelled_run_is_told_by_the_consumer_that_ran_it(
    consumer: TaskConsumer, logbook: Logbook
) -> None:
    begun = asyncio.Event()

    @task
    async def wait(ctx: TaskRun) -> None:
        begun.set()
        await asyncio.Event().wait()

    consumer.register_task(wait)
    Telemetry(server=False).attach(consumer)
    heard = Recorder()
    consumer.dispatcher.register_handler("aborted.test", heard)
    async with consumer:
        run = await consumer.queue("wait")
        await begun.wait()
        assert await run.cancel()
        await heard.wait_for("aborted", run.id)
    (end,) = logbook.of("aborted", run.id)
    assert (end["reason"], end["outcome"]) == ("cancelled", "aborted")
    assert end["ran"] > 0


async def test_a_start_that_cannot_be_told_harms_no_run(
    consumer: TaskConsumer, logbook: Logbook, monkeypatch: pytest.MonkeyPatch
) -> None:
    telemetry = Telemetry(server=False)
    telemetry.attach(consumer)
    attachment = telemetry._attachment
    assert attachment is not None

    def fail(_: object) -> None:
        raise OSError("no room")

    attachment.runs.begins.insert(0, fail)
    async with consumer:
        run = await consumer.queue_and_wait("greet", timeout=20)
    assert str(run.state) == "success"
    assert logbook.of("start", run.id)
    assert "no room" in logbook.saying(f"the start of run {run.id} could not be told")["exception"]
