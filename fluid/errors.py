"""Every way this can go wrong: one tree.

Each error has a `reason`, a short stable word that is safe as a metric label and as a
JSON field. Errors carry identifiers and words, never objects.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar


class FluidError(Exception):
    """The root of every error this project raises on purpose."""

    reason: ClassVar[str] = "error"

    def __reduce__(self) -> tuple[Callable[..., FluidError], tuple[Any, ...]]:
        # an error of a CPU-bound body crosses processes, whatever its constructor takes
        return _rebuilt, (type(self), self.args, self.__dict__)


def _rebuilt(kind: type[FluidError], args: tuple[Any, ...], attributes: dict[str, Any]) -> FluidError:
    error = kind.__new__(kind)
    error.args = args  # which not every base class takes from `__new__`
    error.__dict__.update(attributes)
    return error


# -- declaring -----------------------------------------------------------------------------


class DeclarationError(FluidError, ValueError):
    """A task, a policy, a schedule or a handler was declared in a way that cannot work."""

    reason = "declaration"


class ScheduleError(DeclarationError):
    """A schedule that can never be understood or never fires."""

    reason = "schedule"


class DuplicateTaskError(DeclarationError):
    """Two different tasks want one name."""

    reason = "duplicate_task"


class DuplicateHandlerError(DeclarationError):
    """A handler of this event already has this name."""

    reason = "duplicate_handler"


class UnknownEventError(DeclarationError):
    """No such event is announced."""

    reason = "unknown_event"


class ConfigurationError(FluidError, ValueError):
    """Settings that cannot work; the text lists every fault that was found."""

    reason = "configuration"


class PluginError(FluidError):
    """A plugin could not be found, attached or detached."""

    reason = "plugin"


# -- queueing ------------------------------------------------------------------------------


class UnknownTaskError(FluidError, KeyError):
    """No task of this name is registered here."""

    # a KeyError would show its text in quotes
    __str__ = Exception.__str__

    reason = "unknown_task"

    def __init__(self, name: str, known: tuple[str, ...] = ()) -> None:
        self.name = name
        self.known = known
        listed = ", ".join(sorted(known)[:20]) if known else "none"
        super().__init__(f"unknown task {name!r}: it is not registered here (registered: {listed})")


class UnknownRunError(FluidError, LookupError):
    """The broker keeps no record of this run: it never existed, or its record has expired."""

    reason = "unknown_run"

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        super().__init__(f"unknown run {run_id!r}: never queued here, or its record has expired")


class CursorError(FluidError, ValueError):
    """A page was asked for after something that no page before it has said."""

    reason = "cursor"

    def __init__(self, after: str) -> None:
        super().__init__(
            f"no list of these states has a page after {after!r}: take what the page before said, "
            "and ask for the same states"
        )


class InvalidParamsError(FluidError, ValueError):
    """Parameters that do not fit the task's model."""

    reason = "invalid_params"

    def __init__(self, task: str, fault: str) -> None:
        self.task = task
        super().__init__(f"parameters do not fit task {task!r}: {fault}")


class UnreadableMessageError(FluidError, ValueError):
    """A message that this version of the library cannot read."""

    reason = "unreadable"


class UniqueRunError(FluidError):
    """An open run has the unique key that was asked for."""

    reason = "unique"

    def __init__(self, task: str, owner: str) -> None:
        self.owner = owner
        super().__init__(f"a run of task {task!r} with this unique key is open: {owner}")


class PayloadTooLargeError(FluidError, ValueError):
    """Parameters or a result above the size limit."""

    reason = "too_large"

    def __init__(self, what: str, size: int, limit: int) -> None:
        self.size = size
        self.limit = limit
        super().__init__(
            f"{what} takes {size:,} bytes, the limit is {limit:,}: "
            "keep the data in a store of its own and pass where it is"
        )


class IllegalMoveError(FluidError):
    """A run cannot go from the one state to the other."""

    reason = "illegal_move"


# -- how a run ended -----------------------------------------------------------------------


class RunError(FluidError):
    """A run did not end in success."""

    reason = "run"

    def __init__(self, run_id: str, task: str, why: str) -> None:
        self.run_id = run_id
        self.task = task
        self.why = why
        super().__init__(f"run {run_id} of task {task!r} {self.verb}: {why}")

    verb: ClassVar[str] = "did not succeed"


class RunFailedError(RunError):
    """The last allowed attempt failed."""

    reason = "failure"
    verb = "failed"


class RunAbortedError(RunError):
    """The run was aborted or cancelled."""

    reason = "aborted"
    verb = "was aborted"


class RunDeadError(RunError):
    """No verdict was possible; the run waits for a person."""

    reason = "dead"
    verb = "is dead"


class ResultTimeoutError(FluidError, TimeoutError):
    """The run had not ended when the caller's patience did; the run goes on."""

    reason = "result_timeout"

    def __init__(self, run_id: str, seconds: float) -> None:
        self.run_id = run_id
        super().__init__(f"run {run_id} has not ended within {seconds:g} s; it is still on its way")


class TaskTimeoutError(FluidError, TimeoutError):
    """A body took longer than its task's `timeout_seconds`."""

    reason = "timeout"


class Retry(FluidError):  # noqa: N818 - a body raises it as a word of control, not as a fault
    """Raised by a body: try this run again after `delay` seconds (the policy's wait when None).

    It counts as a failed attempt, so `max_attempts` still bounds it.
    """

    reason = "retry_asked"

    def __init__(
        self, message: str = "the body asked for another attempt", *, delay: float | None = None
    ) -> None:
        if delay is not None and delay < 0:
            raise DeclarationError(f"Retry(delay={delay!r}): a delay is zero or more seconds")
        self.delay = delay
        super().__init__(message)


class Abort(FluidError):  # noqa: N818 - a body raises it as a word of control, not as a fault
    """Raised by a body: end this run `aborted`, without another attempt."""

    reason = "abort_asked"


class ResultError(FluidError, ValueError):
    """What a body returned cannot be kept."""

    reason = "result"


# -- the broker ----------------------------------------------------------------------------


class BrokerError(FluidError):
    """The broker could not do what was asked."""

    reason = "broker"


class BrokerUnavailableError(BrokerError, ConnectionError):
    """The broker could not be reached; nothing was sent."""

    reason = "broker_unavailable"


class UnfitServerError(BrokerError):
    """The server is too old, or has not all commands: runs cannot be kept in it."""

    reason = "unfit_server"


class PartlyQueuedError(BrokerError):
    """A batch stopped on its way: the runs `queued` are in, and those `unsent`, its last, are not.

    `__cause__` is what stopped it.
    """

    reason = "partly_queued"

    def __init__(self, why: str, *, queued: Sequence[str], unsent: Sequence[str]) -> None:
        self.queued = tuple(queued)
        self.unsent = tuple(unsent)
        super().__init__(f"{_counted(self.queued)} queued, {_counted(self.unsent)} not sent: {why}")


class QueueUncertainError(BrokerError):
    """The broker may or may not have the runs `run_ids`: the answer was lost.

    Queue each again with `QueueOptions(run_id=...)`: the same id is never accepted twice. Of a batch, the
    runs `queued` are in, and those `unsent`, its last, are not; `run_ids` are the ones right before them.
    """

    reason = "uncertain"

    def __init__(
        self,
        run_ids: str | Sequence[str],
        why: str,
        *,
        queued: Sequence[str] = (),
        unsent: Sequence[str] = (),
    ) -> None:
        self.run_ids = (run_ids,) if isinstance(run_ids, str) else tuple(run_ids)
        self.queued = tuple(queued)
        self.unsent = tuple(unsent)
        self.why = why
        which, again = f"run {self.run_id}", f"it again with QueueOptions(run_id={self.run_id!r})"
        if len(self.run_ids) > 1:
            which = f"{len(self.run_ids):,} runs, the first {self.run_id},"
            again = "each again with QueueOptions(run_id=...)"
        others = ""
        if queued or unsent:
            others = f"; {_counted(self.queued)} queued, {_counted(self.unsent)} not sent"
        super().__init__(
            f"{which} may or may not have been queued ({why}); queue {again}, which is safe{others}"
        )

    @property
    def run_id(self) -> str:
        """The first of `run_ids`, the only one unless it was a batch."""
        return self.run_ids[0]


def _counted(run_ids: Sequence[str]) -> str:
    return f"{len(run_ids):,} {'run is' if len(run_ids) == 1 else 'runs are'}"


class NoEmbeddedServerError(BrokerError):
    """`embedded://` found no server that it could start or join."""

    reason = "no_embedded_server"


# -- workers -------------------------------------------------------------------------------


class WorkerError(FluidError):
    """A worker was started, stopped or configured in a way that cannot work."""

    reason = "worker"


class WorkerStartError(WorkerError):
    """A worker was asked to start twice, or could not start."""

    reason = "worker_start"
