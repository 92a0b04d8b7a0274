"""`fluid run`: what it says, how it stops, and what it leaves with."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import sys
from pathlib import Path

import pytest

from tests.fluid.cli.calling import PROGRAM, SHOP, call, install
from tests.support.processes import ROOT, PythonProcess
from tests.support.queues import OwnQueue

SHOP_MODULE = "tests.fluid.cli.shop"


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A named pipe: who reads it waits until somebody writes."""
    path = tmp_path / "gate"
    os.mkfifo(path)
    return path


def running(output: Path, target: str = SHOP, *options: str) -> PythonProcess:
    """`fluid run` of a target, without plugins."""
    return PythonProcess("-m", "fluid.cli", "run", target, "--no-plugins", *options, output=output / "said")


async def test_it_says_where_to_look(queue: OwnQueue, tmp_path: Path) -> None:
    async with running(tmp_path, f"{SHOP_MODULE}:scheduler", "--concurrency", "5") as fluid:
        await fluid.wait_for_line("with 5 slots")
        await fluid.wait_for_line(rf"queue +{queue.name}$")
        await fluid.wait_for_line(r"broker +valkey://127\.0\.0\.1:")
        await fluid.wait_for_line(r"tasks +sweep$")
        await fluid.wait_for_line(r"schedules +sweep every hour$")


async def test_a_schedule_that_nobody_fires_is_not_promised(queue: OwnQueue, tmp_path: Path) -> None:
    async with running(tmp_path) as fluid:
        await fluid.wait_for_line(r"schedules +none is fired by a TaskConsumer")


async def test_sigterm_lets_a_body_finish_and_answers_0(queue: OwnQueue, gate: Path, tmp_path: Path) -> None:
    async with running(tmp_path) as fluid:
        queued = await call("queue", SHOP, "wait_at_gate", f"gate={gate}")
        await fluid.wait_for_line("at the gate")
        fluid.terminate()
        await fluid.wait_for_line("SIGTERM: stopping")
        await asyncio.to_thread(gate.write_bytes, b"open")
        assert await fluid.wait() == 0
        await fluid.wait_for_line("through the gate")
        await fluid.wait_for_line("stopped")
    run = await call("runs", "show", queued.out.strip(), "--json")
    assert run.json["state"] == "success"


async def test_a_process_that_serves_looks_for_garbage_seldom(queue: OwnQueue, tmp_path: Path) -> None:
    async with running(tmp_path):
        ended = await call("queue", SHOP, "look_at_collector", "--wait", "20", "--json")
    result = ended.json["result"]
    assert result["threshold"] > gc.get_threshold()[0]
    assert result["frozen"] > 1000


@pytest.mark.parametrize("reader", ["stands still", "has gone"])
async def test_it_stops_although_nobody_reads_what_it_says(
    queue: OwnQueue, tmp_path: Path, reader: str
) -> None:
    read, write = os.pipe()
    said = (tmp_path / "said").open("wb")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "fluid.cli", "run", SHOP, "--no-plugins"),
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=write,
        stderr=said,
    )
    try:
        text = b""
        while b"use a TaskScheduler\n" not in text:
            text += await asyncio.to_thread(os.read, read, 4096)
        if reader == "has gone":
            os.close(read)
        else:
            os.set_blocking(write, False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    os.write(write, b"." * 4096)
            os.set_blocking(write, True)
        process.terminate()
        assert await process.wait() == 0
    finally:
        said.close()
        os.close(write)
        if reader != "has gone":
            os.close(read)
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_second_signal_stops_it_at_once(queue: OwnQueue, gate: Path, tmp_path: Path) -> None:
    async with running(tmp_path) as fluid:
        await call("queue", SHOP, "wait_at_gate", f"gate={gate}")
        await fluid.wait_for_line("at the gate")
        fluid.interrupt()
        await fluid.wait_for_line("SIGINT: stopping")
        fluid.terminate()
        assert await fluid.wait() == 128 + 15
        assert "through the gate" not in fluid.output


TWICE = """
import asyncio, signal
from fluid.cli import signals

async def main():
    signals.ECHO_SECONDS = {seconds}
    asked = asyncio.Queue()
    with signals.stopping_on_signals(asked.put_nowait):
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.{second})
        print(await asked.get(), asked.qsize())

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("seconds", "second", "code", "said"),
    [(60, "SIGTERM", 0, "SIGTERM 0\n"), (0, "SIGTERM", 128 + 15, ""), (60, "SIGINT", 128 + 2, "")],
    ids=["the same in a moment", "the same later", "another one"],
)
async def test_a_signal_that_comes_twice_in_a_moment_is_one(
    seconds: float, second: str, code: int, said: str
) -> None:
    # as `timeout` does, which signals the process and then its group
    answer = await call(program=("-c", TWICE.format(seconds=seconds, second=second)))
    assert (answer.code, answer.out) == (code, said)


async def test_two_signals_stop_it_even_when_a_body_blocks_the_loop(queue: OwnQueue, tmp_path: Path) -> None:
    async with running(tmp_path) as fluid:
        await call("queue", SHOP, "block")
        await fluid.wait_for_line("blocking")
        fluid.terminate()
        fluid.interrupt()
        assert await fluid.wait() in (128 + 2, 128 + 15)


async def test_it_leaves_with_1_and_the_reason_when_a_critical_worker_raised(
    queue: OwnQueue, tmp_path: Path
) -> None:
    async with running(tmp_path, f"{SHOP_MODULE}:doomed") as fluid:
        await fluid.wait_for_line("Error: stopped: worker 'doomed' raised .*nothing works any more")
        assert await fluid.wait() == 1


async def test_it_leaves_with_the_code_that_the_consumer_bailed_out_with(
    queue: OwnQueue, tmp_path: Path
) -> None:
    async with running(tmp_path, f"{SHOP_MODULE}:quitting") as fluid:
        await fluid.wait_for_line("Error: stopped: the shop has burnt down")
        assert await fluid.wait() == 7


async def test_it_attaches_every_plugin_tells_it_the_port_and_detaches_it(
    queue: OwnQueue, tmp_path: Path
) -> None:
    site = install(tmp_path / "site", plugins={"signs": "tests.fluid.cli.signs:Signs"})
    async with PythonProcess(
        "-m", "fluid.cli", "run", SHOP, "--port", "0", output=tmp_path / "said", env=site
    ) as fluid:
        await fluid.wait_for_line("attached to a task_consumer")
        await fluid.wait_for_line(r"signs +http://127\.0\.0\.1:0/signs")
        fluid.terminate()
        assert await fluid.wait() == 0
        await fluid.wait_for_line("detached")


async def test_a_port_that_no_plugin_takes_is_refused() -> None:
    answer = await call("run", SHOP, "--port", "0", "--no-plugins")
    assert answer.code == 2
    assert answer.err == "Error: --port: no plugin that is attached takes it\n"


async def test_a_program_of_its_own_runs_its_consumer(queue: OwnQueue, tmp_path: Path) -> None:
    site = install(tmp_path / "site")
    async with PythonProcess(*PROGRAM, "run", "--no-plugins", output=tmp_path / "said", env=site) as program:
        ended = await call("queue", "add", "a=1", "b=2", "--wait", "20", "--json", env=site, program=PROGRAM)
        assert ended.json["result"] == 3
        program.terminate()
        assert await program.wait() == 0
