"""CPU-bound bodies, each in a process of a pool, so that they never hold up the event loop.

Processes are started afresh (`spawn`), which is safe beside threads. A process that dies fails
only its own run; a body that is timed out or cancelled is killed with its process.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import multiprocessing
import os
import sys
from concurrent.futures import CancelledError as FutureCancelled
from typing import TYPE_CHECKING, Any

from fluid.errors import ConfigurationError, DeclarationError, RunError, TaskTimeoutError
from fluid.scheduler.codec import decode_params, encode_params, encode_result
from fluid.scheduler.run import TaskRun
from fluid.scheduler.states import TaskPriority, TaskState
from fluid.scheduler.task import Task

if TYPE_CHECKING:
    from pebble import ProcessPool as PebblePool


class ProcessDiedError(RunError):
    """The process of a CPU-bound body ended before the body did."""

    reason = "process_died"
    verb = "lost its process"


class ProcessPool:
    """As many processes as there are processors, started when the first CPU-bound body comes."""

    def __init__(self) -> None:
        self._pool: PebblePool | None = None

    async def call(self, task: Task, run: TaskRun[Any], seconds: float | None) -> Any:
        """What the body returns or raises; `TaskTimeoutError` after so many seconds."""
        from pebble import ProcessExpired

        module, name = _where(task)
        future = self._started().schedule(
            _run_body, args=(module, name, _carried(run), encode_params(run)), timeout=seconds
        )
        try:
            return await asyncio.wrap_future(future)
        except ProcessExpired as error:
            raise ProcessDiedError(run.id, run.name, f"exit code {error.exitcode}") from error
        except FutureCancelled:
            raise asyncio.CancelledError from None
        except TimeoutError as error:
            if _is_of_the_pool(future):
                raise TaskTimeoutError(
                    f"the body took longer than {seconds or 0:g} s; its process was killed"
                ) from error
            raise
        except asyncio.CancelledError:
            future.cancel()
            raise

    def _started(self) -> PebblePool:
        if self._pool is None:
            try:
                from pebble import ProcessPool as Pool
            except ImportError:
                raise ConfigurationError(
                    "a CPU-bound task needs the library pebble: pip install 'fluid-tasks[cpu]'"
                ) from None
            self._pool = Pool(max_workers=os.cpu_count() or 1, context=multiprocessing.get_context("spawn"))
        return self._pool

    async def close(self) -> None:
        """Kill what still runs."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.stop()
            await asyncio.to_thread(pool.join)


def _is_of_the_pool(future: Any) -> bool:
    """Whether a timeout is the pool's; what the body itself raised has its traceback as the cause."""
    return not future.cancelled() and future.done() and future.exception().__cause__ is None


def _where(task: Task) -> tuple[str, str]:
    """Where another process finds the body."""
    module = task.executor.__module__
    name = getattr(task.executor, "__qualname__", "")
    if not name or "<" in name:
        raise DeclarationError(
            f"task {task.name!r} is CPU-bound, so its body must be importable: define it in a module"
        )
    return module, name


def _carried(run: TaskRun[Any]) -> dict[str, Any]:
    return {
        "id": run.id,
        "name": run.name,
        "priority": str(run.priority),
        "failures": run.failures,
        "losses": run.losses,
        "queued": run.queued,
        "start": run.start,
        "from_run_id": run.from_run_id,
        "root_run_id": run.root_run_id,
        "headers": run.headers,
        "local": run.local,
    }


def _run_body(module: str, name: str, carried: dict[str, Any], params: bytes) -> Any:
    """In the other process: find the body, call it, and give back plain data."""
    found: Any = sys.modules.get(module) or importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    if not isinstance(found, Task):
        raise DeclarationError(f"{module}.{name} is no task in the process of a CPU-bound body")
    run: TaskRun[Any] = TaskRun(**carried | {"priority": TaskPriority(carried["priority"])}, params=None)
    run.params = decode_params(found, params)
    run.state = TaskState.running
    value = found.executor(run)
    if inspect.iscoroutine(value):
        value = asyncio.run(value)
    # written here, so that a result that cannot be kept is this body's own failure
    encode_result(found.name, value)
    return value
