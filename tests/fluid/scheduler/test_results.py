"""Parameters on their way in, results on their way out, and who waits for them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel, ConfigDict, SecretStr

from fluid.clock import now
from fluid.errors import (
    BrokerUnavailableError,
    InvalidParamsError,
    PayloadTooLargeError,
    ResultTimeoutError,
    RunAbortedError,
    RunDeadError,
    RunFailedError,
    UnknownRunError,
    UnknownTaskError,
)
from fluid.scheduler import Abort, QueueOptions, Task, TaskRun, TaskState, task
from tests.fluid.scheduler.consuming import Gate, consuming, managing
from tests.support.processes import PythonProcess
from tests.support.proxy import CuttingProxy


@task
async def add(ctx: TaskRun) -> int:
    return int(ctx.params["a"]) + int(ctx.params["b"])


@task
async def whenever(ctx: TaskRun) -> None: ...


@task
async def fails(ctx: TaskRun) -> None:
    raise ValueError("out of paper")


@task
async def declines(ctx: TaskRun) -> None:
    raise Abort("not today")


# -- waiting for the end --------------------------------------------------------------------


async def test_queue_and_wait_returns_the_ended_run(broker_url: str) -> None:
    async with consuming(broker_url, add) as (consumer, _):
        run = await consumer.queue_and_wait(add, a=1, b=2)
        assert run.state is TaskState.success
        assert run.is_done
        assert not run.is_failure
        assert await run.result() == 3
    assert run.in_queue is not None
    assert run.duration is not None
    assert run.total is not None
    assert run.in_queue >= timedelta(0)
    assert run.duration >= timedelta(0)
    assert run.total == run.in_queue + run.duration
    assert all(instant and instant.tzinfo for instant in (run.queued, run.start, run.end))


async def test_queue_and_wait_returns_a_run_that_ended_badly_as_well(broker_url: str) -> None:
    async with consuming(broker_url, fails, declines) as (consumer, _):
        failed = await consumer.queue_and_wait(fails)
        aborted = await consumer.queue_and_wait(declines)
    assert (failed.state, failed.reason, failed.error) == (
        TaskState.failure,
        "error",
        "ValueError: out of paper",
    )
    assert failed.is_failure
    assert (aborted.state, aborted.reason) == (TaskState.aborted, "abort_asked")


async def test_the_result_of_a_run_that_ended_badly_is_raised_and_names_it(broker_url: str) -> None:
    async with consuming(broker_url, fails, declines) as (consumer, _):
        failed, aborted = await consumer.queue(fails), await consumer.queue(declines)
        with pytest.raises(RunFailedError, match="'fails' failed: ValueError: out of paper") as failure:
            await failed.result(timeout=5)
        with pytest.raises(RunAbortedError, match="not today"):
            await aborted.result(timeout=5)
    assert failure.value.run_id == failed.id


async def test_patience_that_ends_before_the_run_is_told_and_the_run_goes_on(broker_url: str) -> None:
    gate = Gate()

    @task
    async def slow(ctx: TaskRun) -> str:
        await gate.wait()
        return "after all"

    async with consuming(broker_url, slow) as (consumer, _):
        with pytest.raises(ResultTimeoutError) as too_late:
            await consumer.queue_and_wait(slow, timeout=0.05)
        run = await consumer.get_run(too_late.value.run_id)
        assert run.state is TaskState.running
        with pytest.raises(ResultTimeoutError):
            await run.result(timeout=0.01)
        gate.open()
        assert await run.result(timeout=5) == "after all"


async def test_whoever_waits_for_a_dead_run_is_told_at_once(broker_url: str) -> None:
    class Strict(BaseModel):
        count: int

    @task("count")
    async def loose(ctx: TaskRun) -> None: ...

    @task("count")
    async def strict(ctx: TaskRun[Strict]) -> None: ...

    async with consuming(broker_url, strict), managing(broker_url, loose) as (manager, _):
        with pytest.raises(RunDeadError, match="invalid_params") as dead:
            await manager.queue_and_wait(loose, timeout=25, count="many")
        run = await manager.get_run(dead.value.run_id)
        assert run.state is TaskState.dead
        with pytest.raises(RunDeadError):
            await run.result(timeout=25)


async def test_a_run_that_nobody_knows_is_an_error_that_names_it(broker_url: str) -> None:
    async with managing(broker_url, add) as (manager, _):
        with pytest.raises(UnknownRunError, match="nobody"):
            await manager.get_run("nobody")


async def test_another_manager_gets_the_result(broker_url: str) -> None:
    async with consuming(broker_url, add), managing(broker_url, add) as (one, _):
        run = await one.queue(add, a=20, b=22)
        async with managing(broker_url) as (other, _):
            found = await other.get_run(run.id)
            assert await found.result(timeout=5) == 42


async def test_another_process_gets_the_result(broker_url: str, tmp_path: Path) -> None:
    asks = (
        "import asyncio, sys\n"
        "from fluid.scheduler import TaskManager\n"
        "async def main(url, run_id):\n"
        "    async with TaskManager(broker_url=url) as manager:\n"
        "        run = await manager.get_run(run_id)\n"
        "        print('result', await run.result(timeout=20))\n"
        "asyncio.run(main(*sys.argv[1:]))\n"
    )
    async with managing(broker_url, add) as (manager, _):
        run = await manager.queue(add, a=20, b=22)
        async with PythonProcess("-c", asks, broker_url, run.id, output=tmp_path / "said") as process:
            async with consuming(broker_url, add):
                await process.wait_for_line("^result 42$")
            assert await process.wait() == 0


async def test_many_wait_for_one_run(broker_url: str) -> None:
    gate = Gate()

    @task
    async def slow(ctx: TaskRun) -> str:
        await gate.wait()
        return "done"

    async with consuming(broker_url, slow) as (consumer, _):
        run = await consumer.queue(slow)
        waiters = [asyncio.create_task(run.result(timeout=20)) for _ in range(10)]
        await gate.wait_for()
        gate.open()
        assert await asyncio.gather(*waiters) == ["done"] * 10


async def test_a_result_is_waited_for_no_longer_than_asked_while_the_broker_is_away(
    proxied_url: str, proxy: CuttingProxy
) -> None:
    async with managing(proxied_url, whenever, queue_timeout=1) as (manager, _):
        run = await manager.queue(whenever)
        proxy.refuse()
        async with asyncio.timeout(5):
            with pytest.raises((ResultTimeoutError, BrokerUnavailableError)):
                await run.result(timeout=0.5)
        await proxy.accept()


async def test_a_result_is_waited_for_no_longer_than_asked_while_the_broker_is_silent(
    proxied_url: str, proxy: CuttingProxy
) -> None:
    async with managing(proxied_url, whenever, queue_timeout=1) as (manager, _):
        run = await manager.queue(whenever)
        proxy.freeze()
        try:
            async with asyncio.timeout(4):
                with pytest.raises((ResultTimeoutError, BrokerUnavailableError)):
                    await run.result(timeout=0.5)
        finally:
            proxy.thaw()


# -- what a body may return -----------------------------------------------------------------


class Weather(BaseModel):
    degrees: float
    at: datetime


class Wind(msgspec.Struct):
    knots: int


@dataclass
class Rain:
    millimetres: int


@pytest.mark.parametrize(
    ("returned", "kept"),
    [
        (None, None),
        ("text", "text"),
        ([1, {"two": 3.5}], [1, {"two": 3.5}]),
        (Wind(knots=7), {"knots": 7}),
        (Rain(millimetres=3), {"millimetres": 3}),
        (Weather(degrees=1.5, at=datetime.fromisoformat("2024-05-01T12:00:00+00:00")), None),
    ],
    ids=["nothing", "text", "plain", "struct", "dataclass", "pydantic"],
)
async def test_what_a_body_returns_is_the_result(broker_url: str, returned: object, kept: object) -> None:
    @task
    async def gives(ctx: TaskRun) -> object:
        return returned

    async with consuming(broker_url, gives) as (consumer, _):
        result = await (await consumer.queue(gives)).result(timeout=5)
    if isinstance(returned, Weather):
        assert Weather.model_validate(result) == returned
    else:
        assert result == kept


async def test_a_result_that_cannot_be_written_down_fails_the_run_with_the_reason_result(
    broker_url: str,
) -> None:
    @task
    async def gives_a_lock(ctx: TaskRun) -> object:
        return asyncio.Lock()

    async with consuming(broker_url, gives_a_lock) as (consumer, _):
        run = await consumer.queue_and_wait(gives_a_lock)
    assert (run.state, run.reason) == (TaskState.failure, "result")
    assert "Lock" in run.error


async def test_a_result_that_is_too_large_fails_the_run_and_says_what_to_do(broker_url: str) -> None:
    @task
    async def gives_too_much(ctx: TaskRun) -> str:
        return "x" * 2_000_000

    async with consuming(broker_url, gives_too_much) as (consumer, _):
        run = await consumer.queue_and_wait(gives_too_much)
    assert (run.state, run.reason) == (TaskState.failure, "result")
    assert "the limit is 1,048,576" in run.error


# -- what a body is given -------------------------------------------------------------------


async def test_an_unknown_task_is_an_error_that_names_it(broker_url: str) -> None:
    async with managing(broker_url, add) as (manager, heard):
        with pytest.raises(UnknownTaskError, match=r"unknown task 'subtract'.*registered: add") as error:
            await manager.queue("subtract", a=1)
        assert error.value.name == "subtract"
        assert heard.of("queue") == []


async def test_a_task_is_found_by_its_name(broker_url: str) -> None:
    async with consuming(broker_url, add) as (consumer, _):
        assert await (await consumer.queue("add", a=1, b=1)).result(timeout=5) == 2


class Charge(BaseModel):
    amount: int
    card: SecretStr
    when: datetime | None = None


class ChargeStruct(msgspec.Struct, kw_only=True):
    amount: int
    card: str
    when: datetime | None = None


@dataclass
class ChargeData:
    amount: int
    card: str
    when: datetime | None = None


@task
async def charge(ctx: TaskRun[Charge]) -> str:
    assert isinstance(ctx.params, Charge)
    return f"{ctx.params.amount} from {ctx.params.card.get_secret_value()}, {ctx.params.when}"


@task
async def charge_struct(ctx: TaskRun[ChargeStruct]) -> str:
    assert isinstance(ctx.params, ChargeStruct)
    return f"{ctx.params.amount} from {ctx.params.card}, {ctx.params.when}"


@task
async def charge_data(ctx: TaskRun[ChargeData]) -> str:
    assert isinstance(ctx.params, ChargeData)
    return f"{ctx.params.amount} from {ctx.params.card}, {ctx.params.when}"


CHARGES = [charge, charge_struct, charge_data]


@pytest.mark.parametrize("declared", CHARGES, ids=lambda declared: declared.name)
async def test_a_body_is_given_an_instance_of_its_model(broker_url: str, declared: Task) -> None:
    when = now()
    async with consuming(broker_url, *CHARGES) as (consumer, _):
        run = await consumer.queue(declared, amount=5, card="1234", when=when)
        assert await run.result(timeout=5) == f"5 from 1234, {when}"


@pytest.mark.parametrize("declared", CHARGES, ids=lambda declared: declared.name)
@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"amount": "much", "card": "1234"}, "amount"),
        ({"amount": 5}, "card"),
        ({"amount": 5, "card": "1234", "tip": 1}, "tip"),
    ],
    ids=["wrong", "missing", "unknown"],
)
async def test_parameters_that_do_not_fit_are_refused_when_queued(
    broker_url: str, declared: Task, given: dict[str, Any], named: str
) -> None:
    async with managing(broker_url, *CHARGES) as (manager, _):
        with pytest.raises(InvalidParamsError, match=named):
            await manager.queue(declared, **given)
        assert (await manager.broker.snapshot()).books.accepted == 0


async def test_all_faults_of_parameters_are_told_at_once(broker_url: str) -> None:
    async with managing(broker_url, charge) as (manager, _):
        with pytest.raises(InvalidParamsError) as error:
            await manager.queue(charge, amount="much", when="soon")
    for name in ("amount", "card", "when"):
        assert name in str(error.value)


async def test_a_model_with_aliases_survives_the_queue(broker_url: str) -> None:
    class Aliased(BaseModel):
        model_config = ConfigDict(
            alias_generator=lambda name: name.replace("_", "-"), validate_by_name=True, validate_by_alias=True
        )
        card_number: str

    @task
    async def reads(ctx: TaskRun[Aliased]) -> str:
        return ctx.params.card_number

    async with consuming(broker_url, reads) as (consumer, _):
        run = await consumer.queue(reads, card_number="1234")
        assert await run.result(timeout=5) == "1234"


async def test_a_secret_reaches_the_body_and_is_shown_nowhere(broker_url: str) -> None:
    async with consuming(broker_url, charge) as (consumer, _):
        run = await consumer.queue(charge, amount=5, card="hush-hush")
        assert "hush-hush" in await run.result(timeout=5)
        for shown in (repr(run), str(run.summary()), repr(run.params), str(run)):
            assert "hush-hush" not in shown


async def test_parameters_that_cannot_be_written_down_are_refused_when_queued(broker_url: str) -> None:
    async with managing(broker_url, add) as (manager, heard):
        with pytest.raises(InvalidParamsError, match="'add'"):
            await manager.queue(add, a=object(), b=1)
        assert [event.name for event in heard.events if event.run] == ["queue", "refused"]


async def test_a_message_that_is_too_large_is_refused_when_queued(broker_url: str) -> None:
    async with managing(broker_url, add) as (manager, _):
        with pytest.raises(PayloadTooLargeError, match=r"the limit is 1,048,576.*store of its own"):
            await manager.queue(add, a="x" * 2_000_000, b=1)
        assert (await manager.broker.snapshot()).books.accepted == 0


async def test_parameters_keep_their_own_names_beside_the_options(broker_url: str) -> None:
    @task
    async def names(ctx: TaskRun) -> dict[str, object]:
        return dict(ctx.params)

    async with consuming(broker_url, names) as (consumer, _):
        run = await consumer.queue(
            names, options=QueueOptions(run_id="mine"), delay="a word", at="home", name="x", seconds=1
        )
        assert run.id == "mine"
        result = await run.result(timeout=5)
    assert result == {"delay": "a word", "at": "home", "name": "x", "seconds": 1}
