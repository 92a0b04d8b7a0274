"""The wrap around queueing and executing.

Events tell facts and can change nothing. An interceptor is for what has to surround the work: a
trace context that travels in the message and stays current while the body runs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from contextvars import Context
from typing import Any, Protocol

import msgspec

from fluid.errors import DeclarationError
from fluid.scheduler.body_process import place_of
from fluid.scheduler.run import TaskRun

logger = logging.getLogger("fluid")

OnTrouble = Callable[[str, str, str], None]
"""Told what an interceptor surrounded, its class, and what it raised."""


class Interceptor(Protocol):
    """Surrounds queueing and executing; it must be quick.

    One that surrounds only one of the two inherits the other from here, and is not even asked then.

    It can harm no work. One that raises, on the way in or out, is logged and announced as
    `handler_failed`, whose `event` is the method and whose `handler` is the class; the work goes on
    without it, inside all the others. What the work raises gets out, whatever an interceptor makes of it.

    A CPU-bound body runs in another process, outside of the context that `executing` made. An
    interceptor that has to surround it there as well has one more method:

        @staticmethod
        def in_process(headers: Mapping[str, str]) -> AbstractContextManager[Any]: ...

    It is called in that process, with `run.headers`. It is found there by its module and its name, so it
    is a static method of a class in a module, or a function there, and `headers` are all it knows.
    """

    def queueing(self, runs: Sequence[TaskRun[Any]]) -> AbstractContextManager[Any] | None:  # noqa: ARG002
        """Entered before runs are encoded, so `run.headers` may be added to; left when they are queued.

        None surrounds nothing.
        """
        return None

    def executing(self, run: TaskRun[Any]) -> AbstractContextManager[Any] | None:  # noqa: ARG002
        """Entered before the body starts, in its context; left when its result is written.

        None surrounds nothing.
        """
        return None


class Interceptors:
    """Interceptors, the first outermost, and who is told when one raises."""

    def __init__(self, on_trouble: OnTrouble) -> None:
        self._on_trouble = on_trouble
        self._all: list[Interceptor] = []
        self.queueing: tuple[Interceptor, ...] = ()
        """Those that surround queueing."""
        self.executing: tuple[Interceptor, ...] = ()
        """Those that surround executing."""

    def __iter__(self) -> Iterator[Interceptor]:
        return iter(self._all)

    def append(self, interceptor: Interceptor) -> None:
        """Have one more, inside of all others."""
        self.extend([interceptor])

    def extend(self, interceptors: Iterable[Interceptor]) -> None:
        """Have these as well, inside of all others."""
        self._all.extend(interceptors)
        self._sort_out()

    def remove(self, interceptor: Interceptor) -> None:
        """Have it no more; ValueError if it is none of these."""
        self._all.remove(interceptor)
        self._sort_out()

    def _sort_out(self) -> None:
        """Once, and not around every run."""
        self.queueing = tuple(one for one in self if _has_its_own(one, "queueing"))
        self.executing = tuple(one for one in self if _has_its_own(one, "executing"))

    def trouble(self, what: str, interceptor: Interceptor, error: BaseException) -> None:
        """Log and tell that an interceptor has raised."""
        who = type(interceptor).__name__
        logger.error("interceptor %s raised around %s; it goes on without", who, what, exc_info=error)
        self._on_trouble(what, who, repr(error))

    def trouble_in_process(self, place: str, error: str) -> None:
        """The same, of what an interceptor has at this place; `error` is all that came of it."""
        for interceptor in self:
            if place_of(getattr(interceptor, "in_process", None)) == place:
                who = type(interceptor).__name__
                logger.error("interceptor %s raised in the process of a body, called without: %s", who, error)
                self._on_trouble("in_process", who, error)


def _has_its_own(interceptor: Interceptor, method: str) -> bool:
    return getattr(type(interceptor), method, None) is not getattr(Interceptor, method)


class _Around(msgspec.Struct, eq=False):
    """The context of an interceptor, around that of the next one; nothing that they raise or answer gets out.

    It is made for every run, so it is no stack of contexts.
    """

    what: str
    interceptor: Interceptor
    told: Any
    trouble: Callable[[str, Interceptor, BaseException], None]
    inner: _Around | None
    context: AbstractContextManager[Any] | None = None
    """Once it was entered."""

    def __enter__(self) -> None:
        try:
            context = getattr(self.interceptor, self.what)(self.told)
            if context is not None:
                context.__enter__()
                self.context = context
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - it is logged and told
            self.trouble(self.what, self.interceptor, error)
        if self.inner is not None:
            try:
                self.inner.__enter__()
            except KeyboardInterrupt as error:
                self.inner = None
                self.__exit__(type(error), error, error.__traceback__)
                raise

    def __exit__(self, kind: Any, raised: BaseException | None, trace: Any) -> None:
        try:
            if self.inner is not None:
                self.inner.__exit__(kind, raised, trace)
        finally:
            if self.context is not None:
                self._leave(self.context, kind, raised, trace)

    def _leave(
        self, context: AbstractContextManager[Any], kind: Any, raised: BaseException | None, trace: Any
    ) -> None:
        try:
            context.__exit__(kind, raised, trace)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - it is logged and told
            if error is not raised:
                self.trouble(self.what, self.interceptor, error)


_NOTHING = nullcontext()


def _around(
    what: str,
    among: Sequence[Interceptor],
    told: Any,
    trouble: Callable[[str, Interceptor, BaseException], None],
) -> AbstractContextManager[Any]:
    around: _Around | None = None
    for interceptor in reversed(among):
        around = _Around(what, interceptor, told, trouble, around)
    return around or _NOTHING


def around_queueing(interceptors: Interceptors, runs: Sequence[TaskRun[Any]]) -> AbstractContextManager[Any]:
    """All interceptors around the queueing of these runs, the first outermost."""
    return _around("queueing", interceptors.queueing, runs, interceptors.trouble)


def around_queueing_of_others(
    interceptors: Interceptors, handed: Sequence[tuple[TaskRun[Any], Context]]
) -> AbstractContextManager[Any]:
    """All interceptors around each of these runs by itself, in the context of whoever handed it over."""
    if not interceptors.queueing:
        return _NOTHING
    with ExitStack() as stack:
        for run, context in handed:
            around = around_queueing(interceptors, [run])
            context.run(around.__enter__)
            stack.push(_leaving(around, context))
        return stack.pop_all()


def around_executing(interceptors: Interceptors, run: TaskRun[Any]) -> AbstractContextManager[Any]:
    """All interceptors around the body of this run, the first outermost."""
    return _around("executing", interceptors.executing, run, interceptors.trouble)


def places_in_process(interceptors: Interceptors) -> list[str]:
    """Where the process of a CPU-bound body finds what has to surround it, the first outermost."""
    places = []
    for interceptor in interceptors:
        hook = getattr(interceptor, "in_process", None)
        if hook is None:
            continue
        if place := place_of(hook):
            places.append(place)
        else:
            error = DeclarationError("it cannot be found from another process: make it a static method")
            interceptors.trouble("in_process", interceptor, error)
    return places


def _leaving(around: AbstractContextManager[Any], context: Context) -> Callable[..., bool | None]:
    return lambda *raised: context.run(around.__exit__, *raised)
