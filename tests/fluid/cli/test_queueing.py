"""`fluid queue` and `fluid exec`: parameters as they are typed, and what is answered."""

from __future__ import annotations

from typing import Any

import pytest

from fluid.cli.faults import CallError
from fluid.cli.queueing import read_params
from fluid.scheduler import TaskConsumer
from tests.fluid.cli import shop
from tests.fluid.cli.calling import SHOP, call
from tests.support.queues import OwnQueue

TYPED: list[tuple[str, Any]] = [
    ("3", 3),
    ("-0.5", -0.5),
    ("true", True),
    ("null", None),
    ('["a"]', ["a"]),
    ('"3"', "3"),
    ("bob", "bob"),
    ("01", "01"),
    ("NaN", "NaN"),
    ("a=b", "a=b"),
    ("", ""),
]


@pytest.mark.parametrize(("text", "value"), TYPED)
def test_a_value_that_is_json_is_taken_as_that_and_any_other_as_text(text: str, value: Any) -> None:
    assert read_params(None, [f"key={text}"]) == {"key": value}


def test_pairs_win_over_the_object() -> None:
    assert read_params('{"a": 1, "b": 2}', ["b=3"]) == {"a": 1, "b": 3}


@pytest.mark.parametrize(
    ("params", "pairs"),
    [("[1]", []), ("{", []), ('{"a": NaN}', []), (None, ["a"]), (None, ["=1"]), (None, ["priority=high"])],
)
def test_what_are_no_parameters_is_refused(params: str | None, pairs: list[str]) -> None:
    with pytest.raises(CallError):
        read_params(params, pairs)


async def test_queue_answers_the_id_alone(queue: OwnQueue) -> None:
    answer = await call("queue", SHOP, "add", "a=1", "b=2", "--run-id", "first")
    assert (answer.code, answer.out, answer.err) == (0, "first\n", "")


async def test_queue_answers_the_run_as_json(queue: OwnQueue) -> None:
    options = ("--priority", "high", "--delay", "60", "--json")
    answer = await call("queue", SHOP, "charge", "--params", '{"amount": 5}', *options)
    assert answer.json["task"] == "charge"
    assert answer.json["state"] == "scheduled"
    assert answer.json["priority"] == "high"


async def test_queue_says_which_run_has_the_unique_key(queue: OwnQueue) -> None:
    first = await call("queue", SHOP, "add", "a=1", "b=2", "--unique-key", "k")
    second = await call("queue", SHOP, "add", "a=1", "b=2", "--unique-key", "k")
    assert second.code == 1
    assert first.out.strip() in second.err


async def test_queue_can_wait_for_the_end_and_answers_1_unless_it_is_a_success(queue: OwnQueue) -> None:
    consumer = TaskConsumer(broker_url=queue.url)
    consumer.register_from_dict(vars(shop))
    async with consumer:
        paid = await call("queue", SHOP, "charge", "amount=5", "who=bob", "--wait", "20")
        refused = await call("queue", SHOP, "charge", "amount=-5", "--wait", "20", "--json")
    assert paid.code == 0
    assert 'result    "bob paid 5"' in paid.lines
    assert refused.code == 1
    assert refused.json["state"] == "failure"
    assert refused.json["error"] == "ValueError: an amount is positive"


async def test_queue_gives_up_waiting_when_told_to(queue: OwnQueue) -> None:
    answer = await call("queue", SHOP, "add", "a=1", "b=2", "--wait", "0.1")
    assert answer.code == 1
    assert "has not ended within 0.1 s" in answer.err


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["ad"], "unknown task 'ad'"),
        (["charge", "amount=much"], "parameters do not fit task 'charge'"),
        (["charge", "amount=1", "tip=2"], "parameters do not fit task 'charge'"),
    ],
)
async def test_queue_says_in_a_line_what_cannot_be_queued(arguments: list[str], fault: str) -> None:
    answer = await call("queue", SHOP, *arguments)
    assert answer.code == 1
    assert answer.out == ""
    assert answer.err.startswith(f"Error: {fault}")
    assert len(answer.err.splitlines()) == 1


async def test_queue_never_starts_a_broker_to_queue_into() -> None:
    answer = await call("queue", SHOP, "add", "a=1", "b=2", env={"FLUID_BROKER_URL": "embedded://"})
    assert answer.code == 1
    assert "no embedded server is running" in answer.err


async def test_exec_answers_the_result_and_needs_no_broker(free_port: int) -> None:
    away = {"FLUID_BROKER_URL": f"redis://127.0.0.1:{free_port}"}
    answer = await call("exec", SHOP, "add", "a=1", "b=2", env=away)
    assert (answer.code, answer.out, answer.err) == (0, "3\n", "")
    told = await call("exec", SHOP, "charge", "amount=5", "--json", env=away)
    assert told.json["state"] == "success"
    assert told.json["result"] == "you paid 5"


async def test_exec_answers_1_and_the_error_when_the_body_raises() -> None:
    answer = await call("exec", SHOP, "charge", "amount=-5")
    assert answer.code == 1
    assert answer.out == ""
    assert answer.err == "Error: charge ended in failure (error): ValueError: an amount is positive\n"


async def test_exec_says_so_when_a_result_cannot_be_written() -> None:
    answer = await call("exec", SHOP, "shapeless")
    assert answer.code == 1
    assert "what the body returned cannot be kept" in answer.err
    assert "Traceback" not in answer.err
