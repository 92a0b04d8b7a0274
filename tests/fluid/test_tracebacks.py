"""A traceback begins where the user's code does, and always tells who raised."""

from __future__ import annotations

import asyncio
import re

import pytest

from fluid.scheduler import Task, TaskRun, task
from fluid.tracebacks import frames_of, traceback_of
from tests.fluid.scheduler import cpu_tasks
from tests.fluid.scheduler.consuming import consuming

FRAME = re.compile(r'^  File "(?:.*/)?([^"/]+)", line \d+, in (\w+)$', re.MULTILINE)


def _fail() -> None:
    raise LookupError("no such page")


@task
async def plain(ctx: TaskRun) -> None:
    _fail()


@task
async def queues_what_nobody_knows(ctx: TaskRun) -> None:
    await ctx.queue("nobody")


@task
async def comes_from_another(ctx: TaskRun) -> None:
    try:
        _fail()
    except LookupError as error:
        raise ValueError("no book") from error


@task
async def gives_what_cannot_be_kept(ctx: TaskRun) -> object:
    return object()


@pytest.mark.parametrize(
    ("body", "frames"),
    [
        (plain, [("test_tracebacks.py", "plain"), ("test_tracebacks.py", "_fail")]),
        (cpu_tasks.breaks, [("cpu_tasks.py", "breaks")]),
        (
            comes_from_another,
            [
                ("test_tracebacks.py", "comes_from_another"),
                ("test_tracebacks.py", "_fail"),
                ("test_tracebacks.py", "comes_from_another"),
            ],
        ),
    ],
    ids=["here", "in a process", "with a cause"],
)
async def test_the_evidence_of_a_body_begins_with_the_body(
    broker_url: str, body: Task, frames: list[tuple[str, str]]
) -> None:
    async with consuming(broker_url, body) as (consumer, _):
        run = await consumer.queue_and_wait(body, timeout=25)
        kept = await consumer.get_evidence(run.id)
    assert FRAME.findall(kept["traceback"]) == frames
    assert kept["traceback"].rstrip().endswith(kept["error"])


async def test_what_a_body_called_of_ours_is_told(broker_url: str) -> None:
    async with consuming(broker_url, queues_what_nobody_knows) as (consumer, _):
        run = await consumer.queue_and_wait(queues_what_nobody_knows, timeout=25)
        kept = await consumer.get_evidence(run.id)
    frames = FRAME.findall(kept["traceback"])
    assert frames[0] == ("test_tracebacks.py", "queues_what_nobody_knows")
    assert frames[-1][0] == "registry.py"


async def test_of_an_error_that_only_we_have_a_part_in_the_last_frame_is_told(broker_url: str) -> None:
    async with consuming(broker_url, gives_what_cannot_be_kept) as (consumer, _):
        run = await consumer.queue_and_wait(gives_what_cannot_be_kept, timeout=25)
        kept = await consumer.get_evidence(run.id)
    assert "a value of type object cannot be written as JSON" in kept["error"]
    assert {file for file, _ in FRAME.findall(kept["traceback"])} == {"codec.py"}


async def test_each_error_of_a_group_begins_with_the_users_code() -> None:
    async def one() -> None:
        _fail()

    async def together() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(one())

    with pytest.raises(ExceptionGroup) as caught:
        await together()
    told = traceback_of(caught.value)
    assert "| LookupError: no such page" in told
    assert told.count("in one") == 1


def test_of_a_syntax_error_the_place_is_a_frame() -> None:
    with pytest.raises(SyntaxError) as caught:
        compile("x = 1\ndef (:\n", "shop.py", "exec")
    last = frames_of(caught.value)[-1]
    assert (last.filename, last.lineno, last.line) == ("shop.py", 2, "def (:")
