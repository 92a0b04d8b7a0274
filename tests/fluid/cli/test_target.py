"""`module:consumer`: what it may name, and what is said of what it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fluid.cli.calling import SHOP, call
from tests.support.queues import OwnQueue

MODULE = "tests.fluid.cli.shop"

WRONG = {
    "nowhere:consumer": "there is no module 'nowhere'",
    "tests.fluid.cli.nowhere:consumer": "there is no module 'tests.fluid.cli.nowhere'",
    "shop": "'shop' does not say where a consumer is: write module:consumer",
    f"{MODULE}:consumr": f"module '{MODULE}' has no 'consumr'; it has consumer, scheduler, manager, stubborn",
    f"{MODULE}:number": f"{MODULE}:number is of type int, not a TaskConsumer",
    f"{MODULE}:manager": f"{MODULE}:manager is of type TaskManager, which only queues",
    f"{MODULE}:make_from": f"{MODULE}:make_from is a function that cannot be called as it is",
    f"{MODULE}:make_later": f"{MODULE}:make_later is an async function",
}


@pytest.mark.parametrize("target", WRONG)
async def test_a_wrong_target_is_explained_in_one_line(target: str) -> None:
    answer = await call("run", target)
    assert answer.code == 2
    assert answer.err.startswith(f"Error: {WRONG[target]}")
    assert len(answer.err.splitlines()) == 1
    assert answer.out == ""


async def test_a_module_is_found_in_the_working_directory_of_whoever_calls(tmp_path: Path) -> None:
    (tmp_path / "corner.py").write_text(
        "from fluid.scheduler import TaskConsumer\nimport greengrocer\nconsumer = TaskConsumer()\n",
        encoding="utf-8",
    )
    program = ("-c", f"import os; os.chdir({str(tmp_path)!r}); from fluid.cli import main; main()")
    answer = await call("tasks", "corner:consumer", program=program)
    assert answer.code == 2
    assert answer.err.splitlines() == [
        "Error: module 'corner' cannot be imported: ModuleNotFoundError: No module named 'greengrocer'",
        "  corner.py:2: import greengrocer",
    ]
    (tmp_path / "greengrocer.py").touch()
    assert (await call("tasks", "corner:consumer", program=program)).code == 0


@pytest.mark.parametrize(
    ("module", "target", "told"),
    [
        (
            "x = 1\ndef broken(:\n    pass\n",
            "corner:consumer",
            ["module 'corner' cannot be imported: SyntaxError: invalid syntax", "corner.py:2: def broken(:"],
        ),
        (
            "import shelf\n",
            "corner:consumer",
            [
                "module 'corner' cannot be imported: ZeroDivisionError: division by zero",
                "corner.py:1: import shelf",
                "shelf.py:2: price = 1 / 0",
            ],
        ),
        (
            "def make():\n    return int('apples')\n",
            "corner:make",
            [
                "corner:make made no consumer: ValueError: invalid literal for int() with base 10: 'apples'",
                "corner.py:2: return int('apples')",
            ],
        ),
        (
            "from counter import serve\n",
            "corner:consumer",
            [
                "task 'serve': max_concurrency=-1: zero (no limit) or more are expected",
                "counter.py:3: @task(max_concurrency=-1)",
            ],
        ),
        (
            "from fluid import scheduler\ndef make():\n    return scheduler.TaskConsumer(lease_seconds=0)\n",
            "corner:make",
            [
                "settings that cannot work:",
                "lease_seconds (FLUID_LEASE_SECONDS): Input should be greater than or equal to 0.3, got 0",
                "corner.py:3: return scheduler.TaskConsumer(lease_seconds=0)",
            ],
        ),
    ],
    ids=[
        "that cannot be parsed",
        "that imports one that raises",
        "whose function raises",
        "that imports one with a task that cannot be",
        "whose function gives a setting that cannot be",
    ],
)
async def test_of_a_module_that_goes_wrong_the_users_own_places_are_told(
    tmp_path: Path, module: str, target: str, told: list[str]
) -> None:
    (tmp_path / "corner.py").write_text(module, encoding="utf-8")
    (tmp_path / "shelf.py").write_text("apples = 3\nprice = 1 / 0\n", encoding="utf-8")
    (tmp_path / "counter.py").write_text(
        "from fluid.scheduler import task\n\n@task(max_concurrency=-1)\nasync def serve(ctx): ...\n",
        encoding="utf-8",
    )
    program = ("-c", f"import os; os.chdir({str(tmp_path)!r}); from fluid.cli import main; main()")
    answer = await call("tasks", target, program=program)
    first, *places = told
    assert answer.err.splitlines() == [f"Error: {first}", *(f"  {place}" for place in places)]
    assert (answer.code, answer.out) == (2, "")


async def test_a_function_that_makes_a_consumer_will_do() -> None:
    answer = await call("tasks", f"{MODULE}:make", "--json")
    assert [one["name"] for one in answer.json] == ["add"]


async def test_what_the_program_has_settled_is_not_overruled_in_silence() -> None:
    answer = await call("run", f"{MODULE}:stubborn", "--concurrency", "5")
    assert answer.code == 2
    assert "max_concurrent_tasks of its own" in answer.err


async def test_the_broker_url_reaches_a_consumer_that_is_made_at_import(
    queue: OwnQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FLUID_BROKER_URL")
    queued = await call("queue", SHOP, "add", "a=1", "b=2", "--broker-url", queue.url)
    assert queued.code == 0
    status = await call("status", "--json", "--broker-url", queue.url)
    assert status.json["ready"] == 1
