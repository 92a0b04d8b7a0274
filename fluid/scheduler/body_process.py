"""A CPU-bound body in its process: found, called, and told of in plain data.

Nothing is handled here: log records and progress are told to the consumer, whose settings decide.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import logging
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Generator, Mapping
from contextlib import ExitStack
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from typing import Any

import msgspec

from fluid.errors import DeclarationError, FluidError
from fluid.scheduler.codec import decode_params, encode_result
from fluid.scheduler.failing import Failure, failure_of, printable
from fluid.scheduler.leaving import leave_when_asked
from fluid.scheduler.retry import RetryPolicy
from fluid.scheduler.run import TaskRun
from fluid.scheduler.states import TaskPriority, TaskState
from fluid.scheduler.task import Task
from fluid.scheduler.wire import Begun, LogLine, Mouth, Plain, Progress, Trouble

MESSAGE_CHARACTERS = 32_000
"""The most of a log message, a traceback or a value that is told."""


class Order(msgspec.Struct):
    """A body to call: where it is found, and the run."""

    call: int
    body: str
    """`module:name` of the task."""
    params: msgspec.Raw
    run: dict[str, Any]
    queued_at: float | None
    started_at: float | None
    surroundings: list[str]
    """`module:name` of each function that makes a context to call the body in, from the run's headers."""
    levels: dict[str, int]
    """How much each logger of the consumer lets through."""


class Returned(msgspec.Struct, tag="returned"):
    """The body returned."""

    result: msgspec.Raw


class Raised(msgspec.Struct, tag="raised"):
    """The body raised."""

    failure: Failure


Outcome = Returned | Raised

_encoder = msgspec.json.Encoder()
_order_decoder = msgspec.json.Decoder(Order)
_outcome_decoder: msgspec.json.Decoder[Outcome] = msgspec.json.Decoder(Outcome)


def encode_order(order: Order) -> bytes:
    """The order as it goes to the process."""
    return _encoder.encode(order)


def decode_outcome(data: bytes) -> Outcome:
    """What came back from the process."""
    return _outcome_decoder.decode(data)


def place_of(function: Any) -> str:
    """Where another process finds this function, as `module:name`; empty when it cannot."""
    module, name = getattr(function, "__module__", ""), getattr(function, "__qualname__", "")
    bound_to = getattr(function, "__self__", None)
    if not module or not name or "<" in name or not (bound_to is None or isinstance(bound_to, type)):
        return ""
    return f"{module}:{name}"


def find(place: str) -> Any:
    """What is at `module:name`."""
    module, _, name = place.partition(":")
    found: Any = sys.modules.get(module) or importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


# -- the process ---------------------------------------------------------------------------

_mouth: Mouth


def set_up(mouthpiece: Connection) -> None:
    """Called first in every process."""
    global _mouth
    _mouth = Mouth(mouthpiece)
    leave_when_asked()
    threading.Thread(target=_die_with_the_consumer, name="fluid-lifeline", daemon=True).start()


def _die_with_the_consumer() -> None:
    consumer = parent_process()
    if consumer is not None:
        wait([consumer.sentinel])
        os.kill(os.getpid(), signal.SIGKILL)


def run_body(order: bytes) -> bytes:
    """Call the body, and tell what came out; nothing is raised."""
    # who stops the consumer may signal all of its processes: the body has its grace period all the same,
    # and whoever has to end it kills it
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        return _encoder.encode(_outcome_of(_order_decoder.decode(order)))
    finally:
        signal.signal(signal.SIGTERM, before)


def _outcome_of(order: Order) -> Outcome:
    teller = Teller(order.call)
    teller.tell_begun()
    policy, failures = RetryPolicy(), int(order.run["failures"]) + 1
    params: Any = None
    try:
        task = find(order.body)
        if not isinstance(task, Task):
            raise DeclarationError(f"{order.body} is no task in the process of a CPU-bound body")
        policy = task.retry
        teller.take_logs(order.levels)
        run = _run_of(order, task)
        params = run.params
        with ExitStack() as surroundings:
            for place in order.surroundings:
                teller.enter(place, run.headers, surroundings)
            value = task.executor(run)
            if inspect.iscoroutine(value):
                value = asyncio.run(value)
        # written here, so that a result that cannot be kept is this body's own failure
        return Returned(msgspec.Raw(encode_result(task.name, value)))
    except BaseException as error:  # noqa: BLE001 - it is the outcome
        return Raised(failure_of(error, policy, failures, params))


def _run_of(order: Order, task: Task) -> TaskRun[Any]:
    about = order.run | {"priority": TaskPriority(order.run["priority"])}
    run: TaskRun[Any] = TaskRun(**about, params=None, queued_at=order.queued_at, started_at=order.started_at)
    run.params = decode_params(task, order.params)
    run.state = TaskState.running
    run.door = Door(order.call, task)
    return run


# -- what it tells -------------------------------------------------------------------------


class _Told:
    """What `progress` gives back: it has been told, whether or not that is awaited."""

    def __await__(self) -> Generator[None, None, None]:
        return
        yield


class Door:
    """What a run can ask for in its process."""

    def __init__(self, call: int, task: Task) -> None:
        self._call = call
        self._task = task

    def task_of(self, name: str) -> Any:  # noqa: ARG002 - a run asks for its own
        """The task of the run."""
        return self._task

    def report_progress(
        self,
        run: TaskRun[Any],  # noqa: ARG002 - there is only one
        done: float,
        total: float | None,
        message: str,
    ) -> Awaitable[None]:
        """Tell the consumer, which keeps the newest word."""
        _mouth.tell(self._call, Progress(done, total, printable(message)))
        return _Told()

    async def queue_from(self, *_: Any, **__: Any) -> TaskRun[Any]:
        """Refused."""
        raise _not_here("queue runs")

    async def cancel_run(self, *_: Any, **__: Any) -> bool:
        """Refused."""
        raise _not_here("cancel runs")

    async def result_of(self, *_: Any, **__: Any) -> Any:
        """Refused."""
        raise _not_here("wait for results")


def _not_here(what: str) -> FluidError:
    return FluidError(
        f"a CPU-bound body cannot {what}, for its process has no broker: return what is needed for that, "
        "or do it in an async task"
    )


class Teller(logging.Handler):
    """Tells what happens around the body: that it begins, log records, trouble."""

    def __init__(self, call: int) -> None:
        super().__init__()
        self._call = call

    def tell_begun(self) -> None:
        """Say that the body is in hand, and where."""
        _mouth.tell(self._call, Begun(os.getpid()))

    # -- log records

    def take_logs(self, levels: Mapping[str, int]) -> None:
        """Be told what the consumer's loggers would let through; other handlers are for the consumer."""
        for logger in logging.root.manager.loggerDict.values():
            if isinstance(logger, logging.Logger):
                logger.handlers.clear()
                logger.propagate = True
        logging.root.handlers[:] = [self]
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)

    def emit(self, record: logging.LogRecord) -> None:
        """Tell a record."""
        try:
            _mouth.tell(self._call, LogLine(_fields_of(record)))
        except Exception:  # noqa: BLE001 - logging has its own way to say so
            self.handleError(record)

    # -- what surrounds the body

    def enter(self, place: str, headers: Mapping[str, str], stack: ExitStack) -> None:
        """Enter what this function makes; the body is called without it, if it raises."""
        try:
            context = find(place)(headers)
            context.__enter__()
        except Exception as error:  # noqa: BLE001 - it is told
            self._tell_trouble(place, error)
        else:
            stack.push(lambda *raised: self._leave(place, context, *raised))

    def _leave(self, place: str, context: Any, kind: Any, raised: Any, trace: Any) -> bool:
        try:
            context.__exit__(kind, raised, trace)
        except Exception as error:  # noqa: BLE001 - it is told
            if error is not raised:
                self._tell_trouble(place, error)
        return False

    def _tell_trouble(self, place: str, error: Exception) -> None:
        _mouth.tell(self._call, Trouble(place, failure_of(error, RetryPolicy(), 1).traceback))


_DROPPED = frozenset({"args", "exc_info", "message", "asctime"})
_formatter = logging.Formatter()


def _fields_of(record: logging.LogRecord) -> dict[str, Plain]:
    """The record in plain data: everything that needs this process is made text."""
    fields = {name: value for name, value in vars(record).items() if name not in _DROPPED}
    fields["msg"] = record.getMessage()
    if record.exc_info and not record.exc_text:
        fields["exc_text"] = _formatter.formatException(record.exc_info)
    return {name: _plain(value) for name, value in fields.items()}


def _plain(value: Any) -> Plain:
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return value
    text = printable(value if isinstance(value, str) else repr(value))
    return text if len(text) <= MESSAGE_CHARACTERS else text[:MESSAGE_CHARACTERS] + "..."
