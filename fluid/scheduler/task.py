"""A task: what is declared, with its policies, and `@task` that declares it."""

from __future__ import annotations

import inspect
import math
import re
import sys
import typing
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

from fluid.errors import DeclarationError
from fluid.scheduler.options import SLO
from fluid.scheduler.retry import RetryPolicy
from fluid.scheduler.run import TaskRun
from fluid.scheduler.schedules import Schedule
from fluid.scheduler.states import TaskPriority

TaskExecutor = Callable[[Any], Awaitable[Any]] | Callable[[Any], Any]
UniqueKey = Callable[[Any], str]

RESERVED_PARAMETERS = frozenset({"task", "priority", "options", "timeout", "run_id"})
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]{0,99}")
_RATE = re.compile(r"(\d+)/([smhd])")
_RATE_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """A declared task: name, executor, parameters model, policies.

    Numbers that are None are the consumer's settings; 0 is no limit. Seconds throughout.
    """

    name: str
    executor: TaskExecutor
    params_model: type[Any] | None = None
    priority: TaskPriority = TaskPriority.medium
    schedule: Schedule | None = None
    timeout_seconds: float | None = None
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    max_concurrency: int = 0
    rate: str | None = None
    unique: UniqueKey | None = None
    cpu_bound: bool = False
    max_deliveries: int | None = None
    result_ttl: float | None = None
    slo: SLO | None = None
    description: str = ""
    tags: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        faults = list(self._faults())
        if faults:
            raise DeclarationError(f"task {self.name!r}: " + "; ".join(faults))

    def _faults(self) -> typing.Iterator[str]:
        if not _NAME.fullmatch(self.name):
            yield "a name starts with a letter and has letters, digits, '_', '-' or '.', at most 100"
        if self.timeout_seconds is not None and not (
            math.isfinite(self.timeout_seconds) and self.timeout_seconds >= 0
        ):
            yield f"timeout_seconds={self.timeout_seconds!r}: zero (no limit) or more seconds are expected"
        if self.max_concurrency < 0:
            yield f"max_concurrency={self.max_concurrency!r}: zero (no limit) or more are expected"
        if self.rate is not None and (not (match := _RATE.fullmatch(self.rate)) or int(match[1]) == 0):
            yield f"rate={self.rate!r}: a count and a unit are expected, like '100/m' (s, m, h, d)"
        if self.max_deliveries is not None and self.max_deliveries < 1:
            yield f"max_deliveries={self.max_deliveries!r}: one or more are expected"
        if self.result_ttl is not None and self.result_ttl <= 0:
            yield f"result_ttl={self.result_ttl!r}: more than zero seconds are expected"
        if not self.cpu_bound and not inspect.iscoroutinefunction(self.executor):
            yield "its body must be an `async def` (or declare it cpu_bound=True)"
        reserved = RESERVED_PARAMETERS & set(_fields_of(self.params_model))
        if reserved:
            yield f"its parameters use reserved names: {', '.join(sorted(reserved))}; rename them"

    @property
    def pace(self) -> tuple[int, float]:
        """How many runs may start, and in how many seconds; (0, 0.0) without a rate."""
        match = _RATE.fullmatch(self.rate or "")
        return (int(match[1]), float(_RATE_SECONDS[match[2]])) if match else (0, 0.0)

    def __repr__(self) -> str:
        return f"Task({self.name!r})"


def _fields_of(model: type[Any] | None) -> Sequence[str]:
    if model is None:
        return ()
    for attribute in ("model_fields", "__struct_fields__", "__dataclass_fields__"):
        if fields := getattr(model, attribute, None):
            return list(fields)
    return ()


def _params_model(name: str, executor: TaskExecutor, scope: Mapping[str, Any]) -> type[Any] | None:
    """The model in `TaskRun[Model]`, read from the annotation of the body's only parameter."""
    parameters = list(inspect.signature(executor).parameters.values())
    if len(parameters) != 1:
        raise DeclarationError(
            f"task {name!r}: a body takes one parameter, the run: `async def {name}(ctx: TaskRun)`"
        )
    annotation = parameters[0].annotation
    if isinstance(annotation, str):
        try:
            hints = typing.get_type_hints(executor, localns=dict(scope))
        except NameError as error:
            raise DeclarationError(
                f"task {name!r}: the annotation {annotation!r} of its run cannot be resolved ({error}): "
                "define the parameters model before the task"
            ) from error
        annotation = hints.get(parameters[0].name)
    if typing.get_origin(annotation) is not TaskRun:
        return None
    (model,) = typing.get_args(annotation)
    if model is Any or typing.get_origin(model) is dict or model is dict:
        return None
    if not _is_model(model):
        raise DeclarationError(
            f"task {name!r}: {model!r} is no parameters model; "
            "a pydantic model, a msgspec Struct or a dataclass is"
        )
    return typing.cast("type[Any]", model)


def _is_model(model: Any) -> bool:
    return isinstance(model, type) and any(
        hasattr(model, attribute)
        for attribute in ("model_fields", "__struct_fields__", "__dataclass_fields__")
    )


@overload
def task(name: TaskExecutor, /) -> Task: ...


@overload
def task(
    name: str | None = None,
    *,
    priority: TaskPriority = TaskPriority.medium,
    schedule: Schedule | None = None,
    timeout_seconds: float | None = None,
    retry: RetryPolicy | None = None,
    max_concurrency: int = 0,
    rate: str | None = None,
    unique: UniqueKey | None = None,
    cpu_bound: bool = False,
    max_deliveries: int | None = None,
    result_ttl: float | None = None,
    slo: SLO | None = None,
    description: str | None = None,
    tags: Sequence[str] = (),
) -> Callable[[TaskExecutor], Task]: ...


def task(
    name: str | TaskExecutor | None = None,
    *,
    description: str | None = None,
    retry: RetryPolicy | None = None,
    tags: Sequence[str] = (),
    **policies: Any,
) -> Task | Callable[[TaskExecutor], Task]:
    """Declare a task from the function that is its body: `@task`, or `@task(...)` with policies.

    The name is the function's unless given, the description its docstring's first line.
    Raises `DeclarationError` for what cannot work.
    """
    scope = sys._getframe(1).f_locals  # noqa: SLF001 - a model may be defined beside its task

    def declare(executor: TaskExecutor) -> Task:
        own_name = getattr(executor, "__name__", type(executor).__name__)
        task_name = name if isinstance(name, str) else own_name
        first_line = (inspect.getdoc(executor) or "").partition("\n")[0]
        return Task(
            name=task_name,
            executor=executor,
            params_model=_params_model(task_name, executor, scope),
            retry=retry or RetryPolicy(),
            description=first_line if description is None else description,
            tags=frozenset(tags),
            **policies,
        )

    if name is None or isinstance(name, str):
        return declare
    return declare(name)
