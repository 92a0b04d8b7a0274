"""The wrap around queueing and executing.

Events tell facts and can change nothing. An interceptor is for what has to surround the work: a
trace context that travels in the message and stays current while the body runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any, Protocol

from fluid.scheduler.run import TaskRun


class Interceptor(Protocol):
    """Surrounds queueing and executing; it must be quick and must not raise."""

    def queueing(self, runs: Sequence[TaskRun[Any]]) -> AbstractContextManager[Any]:
        """Entered before runs are encoded, so `run.headers` may be added to; left when they are queued."""

    def executing(self, run: TaskRun[Any]) -> AbstractContextManager[Any]:
        """Entered before the body starts, in its context; left when its result is written."""


_NOTHING = nullcontext()


def around_queueing(
    interceptors: Sequence[Interceptor], runs: Sequence[TaskRun[Any]]
) -> AbstractContextManager[Any]:
    """All interceptors around the queueing of these runs, the first outermost."""
    if not interceptors:
        return _NOTHING
    if len(interceptors) == 1:
        return interceptors[0].queueing(runs)
    return _inside(interceptor.queueing(runs) for interceptor in interceptors)


def around_executing(interceptors: Sequence[Interceptor], run: TaskRun[Any]) -> AbstractContextManager[Any]:
    """All interceptors around the body of this run, the first outermost."""
    if not interceptors:
        return _NOTHING
    if len(interceptors) == 1:
        return interceptors[0].executing(run)
    return _inside(interceptor.executing(run) for interceptor in interceptors)


@contextmanager
def _inside(surroundings: Iterable[AbstractContextManager[Any]]) -> Iterator[None]:
    with ExitStack() as stack:
        for one in surroundings:
            stack.enter_context(one)
        yield
