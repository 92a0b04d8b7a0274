"""A task is declared once, from its body, and what cannot work is refused there and then."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel

from fluid.errors import DeclarationError
from fluid.scheduler.retry import RetryPolicy
from fluid.scheduler.run import TaskRun
from fluid.scheduler.states import TaskPriority
from fluid.scheduler.task import Task, task


class Order(BaseModel):
    number: int


class Parcel(msgspec.Struct):
    weight: float


@dataclass
class Letter:
    text: str


async def body(ctx: TaskRun) -> None:
    """Do what has to be done.

    And some more.
    """


def computing(ctx: TaskRun) -> int:
    return 42


def test_a_bare_declaration_takes_name_and_description_from_the_function() -> None:
    declared = task(body)
    assert isinstance(declared, Task)
    assert (declared.name, declared.executor) == ("body", body)
    assert declared.description == "Do what has to be done."
    assert declared.params_model is None
    assert (declared.priority, declared.retry) == (TaskPriority.medium, RetryPolicy())
    assert (declared.timeout_seconds, declared.max_deliveries, declared.result_ttl) == (None, None, None)


def test_policies_are_kept() -> None:
    retry = RetryPolicy(max_attempts=3)
    declared = task(
        "mail.send",
        priority=TaskPriority.high,
        retry=retry,
        timeout_seconds=0,
        max_concurrency=2,
        rate="100/m",
        max_deliveries=1,
        result_ttl=60,
        description="",
        tags=("mail", "slow"),
    )(body)
    assert (declared.name, declared.priority, declared.retry) == ("mail.send", TaskPriority.high, retry)
    assert (declared.timeout_seconds, declared.max_concurrency, declared.pace) == (0, 2, (100, 60.0))
    assert (declared.max_deliveries, declared.result_ttl) == (1, 60)
    assert (declared.description, declared.tags) == ("", frozenset({"mail", "slow"}))


def test_a_task_without_a_rate_has_no_pace() -> None:
    assert task(body).pace == (0, 0.0)


@pytest.mark.parametrize("model", [Order, Parcel, Letter])
def test_a_parameters_model_is_read_from_the_annotation(model: type[Any]) -> None:
    async def typed(ctx: Any) -> None: ...

    typed.__annotations__["ctx"] = TaskRun[model]  # type: ignore[valid-type]
    assert task(typed).params_model is model


def test_a_model_may_be_defined_beside_its_task() -> None:
    class Near(msgspec.Struct):
        x: int

    @task
    async def near(ctx: TaskRun[Near]) -> None: ...

    assert near.params_model is Near


@pytest.mark.parametrize("parameters", [TaskRun, TaskRun[dict[str, Any]], TaskRun[Any], Any])
def test_without_a_model_parameters_are_a_dict(parameters: Any) -> None:
    async def free(ctx: Any) -> None: ...

    free.__annotations__["ctx"] = parameters
    assert task(free).params_model is None


def test_what_is_no_model_is_refused() -> None:
    async def odd(ctx: TaskRun[int]) -> None: ...

    with pytest.raises(DeclarationError, match="no parameters model"):
        task(odd)


def test_a_model_that_is_not_there_yet_is_refused_with_advice() -> None:
    async def hasty(ctx: TaskRun[Missing]) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(DeclarationError, match="define the parameters model before the task"):
        task(hasty)


def test_a_body_takes_the_run_and_nothing_else() -> None:
    async def greedy(ctx: TaskRun, more: int) -> None: ...

    with pytest.raises(DeclarationError, match="takes one parameter"):
        task(greedy)  # type: ignore[arg-type]


def test_a_body_is_a_coroutine_unless_it_is_cpu_bound() -> None:
    with pytest.raises(DeclarationError, match="cpu_bound=True"):
        task(computing)
    assert task("computing", cpu_bound=True)(computing).cpu_bound


@pytest.mark.parametrize(
    ("policy", "fault"),
    [
        ({"timeout_seconds": -1}, "timeout_seconds=-1"),
        ({"timeout_seconds": float("nan")}, "timeout_seconds=nan"),
        ({"max_concurrency": -1}, "max_concurrency=-1"),
        ({"rate": "fast"}, "rate='fast'"),
        ({"rate": "0/s"}, "rate='0/s'"),
        ({"rate": "10/w"}, "rate='10/w'"),
        ({"max_deliveries": 0}, "max_deliveries=0"),
        ({"result_ttl": 0}, "result_ttl=0"),
    ],
)
def test_a_policy_that_cannot_work_is_refused(policy: dict[str, Any], fault: str) -> None:
    with pytest.raises(DeclarationError, match=fault):
        task(**policy)(body)


@pytest.mark.parametrize("name", ["", "7up", "a b", "a:b", "ä", "x" * 101, "a\n"])
def test_a_name_is_a_plain_word(name: str) -> None:
    with pytest.raises(DeclarationError, match="a name starts with a letter"):
        task(name)(body)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(DeclarationError) as refused:
        task("7up", rate="fast", max_deliveries=0)(body)
    for fault in ("a name starts", "rate='fast'", "max_deliveries=0"):
        assert fault in str(refused.value)


@pytest.mark.parametrize("name", ["task", "priority", "options", "timeout", "run_id"])
def test_a_model_cannot_use_a_reserved_name(name: str) -> None:
    model = msgspec.defstruct("Clashing", [(name, int)])

    async def clashing(ctx: Any) -> None: ...

    clashing.__annotations__["ctx"] = TaskRun[model]  # type: ignore[valid-type]
    with pytest.raises(DeclarationError, match=f"reserved names: {name}"):
        task(clashing)


@pytest.mark.parametrize("declare", [task, task("named")])
def test_a_task_shows_its_name_and_equals_only_itself(declare: Callable[[Any], Task]) -> None:
    first, second = declare(body), declare(body)
    assert repr(first) == f"Task({first.name!r})"
    assert {first, second, first} == {first, second}
    assert first != second
