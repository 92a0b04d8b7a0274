"""What anybody logs goes through one pipe, with the ids of the run it is in and without secrets."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import structlog
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from pydantic import BaseModel, SecretStr

from fluid.errors import ConfigurationError
from fluid.scheduler import TaskConsumer, TaskRun, task
from telemetry import Telemetry, logs, names
from telemetry.current import current_run
from telemetry.rendering import LONGEST_TEXT
from tests.support.processes import ROOT
from tests.telemetry.crunching import recite
from tests.telemetry.logbook import Logbook
from tests.telemetry.scraping import scrape

IDS = ("task", "run_id", "attempt", "consumer")


@pytest.fixture
def logbook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Logbook]:
    """Logging is configured, into a file."""
    for name in ("FORMAT", "LEVEL", "RUNS"):
        monkeypatch.delenv(f"FLUID_LOG_{name}", raising=False)
    logbook = Logbook(tmp_path / "log")
    logbook.begin()
    yield logbook
    logbook.end()


class Spans:
    """An interceptor that opens a span around every body, as tracing does."""

    def __init__(self) -> None:
        self.tracer = TracerProvider().get_tracer("test")

    def queueing(self, runs: Any) -> AbstractContextManager[Any]:
        return nullcontext()

    def executing(self, run: TaskRun) -> AbstractContextManager[Any]:
        return self.tracer.start_as_current_span("process")


# -- ids -----------------------------------------------------------------------------------


async def test_every_line_inside_a_run_carries_its_ids(consumer: TaskConsumer, logbook: Logbook) -> None:
    @task
    async def talk(ctx: TaskRun) -> None:
        logging.getLogger("library.of.somebody").warning("stdlib %d", 1)
        structlog.get_logger("mine").info("structlog", n=2)
        ctx.logger.info("of the run")
        await asyncio.create_task(inner())
        await asyncio.to_thread(logging.getLogger("thread").info, "in a thread")

    async def inner() -> None:
        logging.getLogger("inner").info("in a task of its own")

    consumer.register_task(talk)
    Telemetry(server=False).attach(consumer)
    async with consumer:
        run = await consumer.queue_and_wait("talk", timeout=20)
        ids = {"task": "talk", "run_id": run.id, "attempt": 1, "consumer": consumer.consumer_name}
    for message in ("stdlib 1", "structlog", "of the run", "in a task of its own", "in a thread"):
        line = logbook.saying(message)
        assert {name: line[name] for name in IDS} == ids
    assert logbook.saying("structlog") | {"logger": "mine", "level": "info", "n": 2} == logbook.saying(
        "structlog"
    )
    assert logbook.saying("stdlib 1")["level"] == "warning"


async def test_every_line_of_a_cpu_bound_body_carries_its_ids(
    consumer: TaskConsumer, logbook: Logbook, capfd: pytest.CaptureFixture[str]
) -> None:
    consumer.register_task(recite)
    Telemetry(server=False).attach(consumer)
    async with consumer:
        run = await consumer.queue_and_wait(recite, timeout=40)
        assert str(run.state) == "success", run.error
        ids = {"task": "recite", "run_id": run.id, "attempt": 1, "consumer": consumer.consumer_name}
    for message in ("cannot read", "asked", "verse", "cannot write"):
        line = logbook.saying(message)
        assert {name: line[name] for name in IDS} == ids
    assert logbook.saying("cannot read")["exception"].endswith("LookupError: the page is torn")
    assert "open sesame" not in logbook.text
    verse = logbook.saying("verse")
    assert (verse["logger"], verse["level"]) == ("poet", "info")
    assert (verse["own_name"], verse["line"], verse["own_module"]) == ("Ada", 1, "odes")
    failed = logbook.saying("cannot write")
    assert (failed["level"], failed["exception"].splitlines()[-1]) == ("error", "ValueError: out of ink")
    assert "verse" not in "".join(capfd.readouterr())


async def test_in_the_process_of_a_body_structlog_is_left_alone_where_lines_are_not_ours(
    consumer: TaskConsumer, capfd: pytest.CaptureFixture[str]
) -> None:
    consumer.register_task(recite)
    Telemetry(server=False).attach(consumer)
    async with consumer:
        await consumer.queue_and_wait(recite, timeout=40)
    assert "verse" in capfd.readouterr().out


async def test_runs_that_go_on_at_the_same_time_keep_their_lines_apart(
    consumer: TaskConsumer, logbook: Logbook
) -> None:
    all_there = asyncio.Barrier(5)

    @task
    async def mingle(ctx: TaskRun) -> None:
        for step in range(3):
            await all_there.wait()
            logging.getLogger("body").info("%s at step %d", ctx.id, step)

    consumer.register_task(mingle)
    Telemetry(server=False).attach(consumer)
    async with consumer:
        runs = await consumer.queue_many("mingle", [{}] * 5)
        for run in runs:
            await run.result(timeout=20)
    said = [line for line in logbook.lines if line["logger"] == "body"]
    assert len(said) == 15
    assert all(line["message"].startswith(line["run_id"]) for line in said)


async def test_a_line_outside_a_run_has_no_ids(consumer: TaskConsumer, logbook: Logbook) -> None:
    Telemetry(server=False).attach(consumer)
    async with consumer:
        await consumer.queue_and_wait("greet", timeout=20)
        logging.getLogger("outside").info("alone")
    assert not {*IDS, "trace_id"} & logbook.saying("alone").keys()
    assert current_run() is None


async def test_lines_lead_to_the_span_that_is_current(consumer: TaskConsumer, logbook: Logbook) -> None:
    spans = Spans()

    @task
    async def traced(ctx: TaskRun) -> None:
        logging.getLogger("body").info("in the span of the attempt")
        with spans.tracer.start_as_current_span("inner") as inner:
            logging.getLogger("body").info("in a span of its own")
        return f"{inner.get_span_context().span_id:016x}"  # type: ignore[return-value]

    consumer.register_task(traced)
    consumer.interceptors.append(spans)
    Telemetry(server=False).attach(consumer)
    async with consumer:
        run = await consumer.queue("traced")
        inner_id = await run.result(timeout=20)
    outer, inner = logbook.saying("in the span of the attempt"), logbook.saying("in a span of its own")
    assert len(outer["trace_id"]) == 32
    assert inner["trace_id"] == outer["trace_id"]
    assert (inner["span_id"], outer["span_id"] != inner_id) == (inner_id, True)
    for event in ("start", "success"):
        (line,) = logbook.of(event, run.id)
        assert (line["trace_id"], line["span_id"]) == (outer["trace_id"], outer["span_id"])


async def test_a_field_that_has_the_name_of_an_id_is_kept_beside_it(
    consumer: TaskConsumer, logbook: Logbook
) -> None:
    @task
    async def confuse(ctx: TaskRun) -> None:
        structlog.get_logger().info("confusing", run_id="mine", level="mine", n=1)

    consumer.register_task(confuse)
    Telemetry(server=False).attach(consumer)
    async with consumer:
        run = await consumer.queue_and_wait("confuse", timeout=20)
    line = logbook.saying("confusing")
    assert (line["run_id"], line["own_run_id"]) == (run.id, "mine")
    assert (line["level"], line["own_level"], line["n"]) == ("info", "mine", 1)


def test_who_configures_structlog_himself_has_the_ids_from_a_processor() -> None:
    tracer = TracerProvider().get_tracer("test")
    with tracer.start_as_current_span("here") as span:
        line = logs.add_ids(None, "info", {"event": "x"})
    assert line == {
        "event": "x",
        "trace_id": trace.format_trace_id(span.get_span_context().trace_id),
        "span_id": trace.format_span_id(span.get_span_context().span_id),
    }


# -- secrets -------------------------------------------------------------------------------


class Login(BaseModel):
    user: str
    word: SecretStr


async def test_no_secret_reaches_a_line(consumer: TaskConsumer, logbook: Logbook) -> None:
    @task
    async def login(ctx: TaskRun[Login]) -> None:
        revealed = ctx.params.word.get_secret_value()
        log = structlog.get_logger()
        log.info("params", params=ctx.params, password="hunter22", deep={"headers": {"Cookie": "c=d"}})
        text = f"the word is {revealed}"
        log.info(text, said=f"it is {revealed}")
        log.info("fields", found=[{"it": text}], why=KeyError(revealed), url="http://user:pass9@host/")
        logging.getLogger("lib").info("GET %s", "http://user:pass9@host/?token=abcdef")
        try:
            raise ValueError(f"cannot log in with {revealed}")
        except ValueError:
            logging.getLogger("lib").exception("failed")
        raise ValueError(f"{revealed} is wrong")

    consumer.register_task(login)
    Telemetry(server=False).attach(consumer)
    async with consumer:
        run = await consumer.queue_and_wait("login", timeout=20, user="ada", word="swordfish")
        kept = await consumer.get_evidence(run.id)
    for secret in ("swordfish", "hunter22", "c=d", "pass9", "abcdef"):
        assert secret not in logbook.text
        assert secret not in json.dumps(kept)
    assert kept["params"] == {"user": "ada", "word": "***"}
    assert (kept["error"], run.error) == ("ValueError: *** is wrong",) * 2
    (failure,) = logbook.of("failure")
    assert failure["error"] == "ValueError: *** is wrong"
    assert "ValueError: *** is wrong" in failure["exception"]
    assert logbook.saying("params")["params"] == {"user": "ada", "word": "***"}


# -- whatever is in it ---------------------------------------------------------------------


class Hollow(Mapping[str, int]):
    def __getitem__(self, key: str) -> int:
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(["a"])

    def __len__(self) -> int:
        return 1


class Unshowable:
    def __str__(self) -> str:
        raise RuntimeError("never")


def test_a_line_is_written_whatever_is_in_it(logbook: Logbook) -> None:
    logbook.begin()  # pytest's own handler, which this takes away, cannot do it
    log = structlog.get_logger()
    log.info("odd", object=Unshowable(), many={1: {2, 3}}, tuple_key={(1, 2): 3}, raw=b"\xff")
    circle: dict[str, Any] = {"n": 1}
    circle["itself"] = circle
    log.info("a circle", circle=circle)
    log.info("no mapping", fields=Hollow())
    log.info("lone \udcff surrogate", path="\udcff")
    log.info("not a number", value=float("nan"))
    logging.getLogger("x").info("%d apples", "no")
    logging.getLogger("x").info({"a": "dict"})
    assert [line["message"] for line in logbook.lines] == [
        "odd",
        "a circle",
        "no mapping",
        "lone \\udcff surrogate",
        "not a number",
        "%d apples ('no',)",
        "{'a': 'dict'}",
    ]
    assert logbook.saying("a circle")["circle"]["itself"]["n"] == 1
    assert "KeyError" in logbook.saying("no mapping")["fault"]
    assert "cannot be shown" in logbook.saying("odd")["object"]
    assert "does not fit" in logbook.saying("%d apples ('no',)")["fault"]


def test_a_line_is_no_longer_than_can_be_read(logbook: Logbook) -> None:
    logging.getLogger("x").info("a%sz", "-" * 100_000)
    (line,) = logbook.lines
    assert len(line["message"]) < LONGEST_TEXT + 10
    assert (line["message"][0], line["message"][-1]) == ("a", "z")


def test_a_traceback_is_one_field_of_one_line(logbook: Logbook) -> None:
    try:
        raise LookupError("lost")
    except LookupError as error:
        logging.getLogger("x").exception("stdlib")
        structlog.get_logger().exception("structlog")
        structlog.get_logger().error("given", exc_info=error)
    for message in ("stdlib", "structlog", "given"):
        line = logbook.saying(message)
        assert line["level"] == "error"
        assert line["exception"].startswith("Traceback")
        assert line["exception"].endswith("LookupError: lost")


# -- setting up ----------------------------------------------------------------------------


def test_levels_are_those_asked_for(logbook: Logbook) -> None:
    logbook.begin(level="warning")
    logging.getLogger("x").info("quiet")
    structlog.get_logger().info("quiet")
    logging.getLogger("x").warning("loud")
    structlog.get_logger().warning("loud as well")
    assert [line["message"] for line in logbook.lines] == ["loud", "loud as well"]


def test_the_environment_is_asked_and_a_fault_is_told(
    logbook: Logbook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLUID_LOG_LEVEL", "ERROR")
    logbook.begin()
    assert logging.getLogger().level == logging.ERROR
    monkeypatch.setenv("FLUID_LOG_FORMAT", "xml")
    with pytest.raises(ConfigurationError, match="FLUID_LOG_FORMAT"):
        logs.configure()


def test_who_is_no_terminal_gets_json(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w+") as stream:
        logs.configure(stream=stream)
        logging.getLogger("x").info("hello")
        logs.reset()
        stream.seek(0)
        assert json.loads(stream.read())["message"] == "hello"


def test_a_person_gets_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True)
    logs.configure(stream=stream)
    structlog.get_logger("shop").warning("sold", article="lamp")
    logs.reset()
    assert stream.getvalue().split()[1:] == ["[warning", "]", "sold", "article=lamp"]


def test_reset_leaves_everything_as_it_was(tmp_path: Path) -> None:
    root = logging.getLogger()
    before = (root.handlers[:], root.level, structlog.is_configured())
    with (tmp_path / "log").open("w") as stream:
        logs.configure(stream=stream)
        assert (root.handlers[:], root.level, structlog.is_configured()) != before
        logs.configure(stream=stream)
        logs.reset()
    assert (root.handlers[:], root.level, structlog.is_configured()) == before
    assert logs.output_of_logs() is None


# -- a reader that stops -------------------------------------------------------------------


async def test_a_pipe_that_nobody_reads_stalls_no_run(consumer: TaskConsumer) -> None:
    read, write = os.pipe()
    dropped = logs.dropped_lines()

    @task
    async def chatter(ctx: TaskRun) -> None:
        for _ in range(20):
            logging.getLogger("chatter").info("%s", "x" * LONGEST_TEXT)

    consumer.register_task(chatter)
    telemetry = Telemetry(server=False)
    telemetry.attach(consumer)
    with os.fdopen(write, "w") as stream, os.fdopen(read, "rb") as reader:
        logs.configure(stream=stream, format="json")
        async with consumer:
            for run in await consumer.queue_many("chatter", [{}] * 20):
                await run.result(timeout=30)
            lost = logs.dropped_lines() - dropped
            assert lost > 0
            assert (await scrape(telemetry)).value(names.LOG_LINES_DROPPED) == dropped + lost
        draining = threading.Thread(target=lambda: [json.loads(line) for line in reader])
        draining.start()
        await asyncio.to_thread(logs.reset)
        stream.close()
        await asyncio.to_thread(draining.join)


def run_program(text: str, **streams: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", text], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, **streams
    )


def test_what_was_logged_last_is_written_before_the_process_ends() -> None:
    program = """
import logging, telemetry.logs
telemetry.logs.configure()
for n in range(1000): logging.info("line %d", n)
raise SystemExit(3)
"""
    process = run_program(program, stderr=subprocess.PIPE)
    _, said = process.communicate()
    assert process.returncode == 3
    assert [json.loads(line)["message"] for line in said.splitlines()] == [f"line {n}" for n in range(1000)]


def test_a_reader_that_has_stopped_does_not_keep_a_process_from_ending() -> None:
    program = """
import logging, telemetry.logs
telemetry.logs.configure()
for n in range(1000): logging.info("%s", "x" * 10000)
"""
    read, write = os.pipe()
    with os.fdopen(read, "rb"), os.fdopen(write, "w") as stream:
        process = run_program(program, stderr=stream)
        assert process.wait() == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_process_logs_as_well() -> None:
    program = """
import logging, os, telemetry.logs, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # from 3.12 on: a process with threads is forked
telemetry.logs.configure()
logging.info("parent")
child = os.fork()
if child == 0:
    logging.info("child")
    raise SystemExit(0)
os.waitpid(child, 0)
logging.info("parent again")
"""
    process = run_program(program, stderr=subprocess.PIPE)
    _, said = process.communicate()
    assert sorted(json.loads(line)["message"] for line in said.splitlines()) == [
        "child",
        "parent",
        "parent again",
    ]
