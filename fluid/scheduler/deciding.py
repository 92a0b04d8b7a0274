"""What a person decides about runs: to cancel, discard or replay one, or all that are meant."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from fluid.errors import FluidError, UniqueRunError
from fluid.scheduler.desk import Desk
from fluid.scheduler.history import run_of_record
from fluid.scheduler.moves import Refusal, RunRecord, Submission
from fluid.scheduler.run import TaskRun
from fluid.scheduler.states import TaskState
from fluid.scheduler.submitting import replay_of
from fluid.scheduler.under_way import UnderWay

DECIDED_AT_ONCE = 100
"""Runs that are looked up, and decided about, in one go."""


@dataclass(frozen=True, slots=True)
class Decided:
    """What became of one of many runs that were meant."""

    id: str
    run: TaskRun[Any] | None = None
    """As it is now; the new one, where a failed run was replayed."""
    error: FluidError | None = None
    """Why nothing could be done about it."""


class Deciding(Desk):
    """A desk where runs are cancelled, discarded and replayed.

    Whoever is cancelled while runs are being ended is not told what became of them, but everybody else is.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._under_way = UnderWay()

    @abstractmethod
    async def _submit(self, runs: Sequence[TaskRun[Any]], written: Sequence[Submission]) -> list[str]:
        """Queue these; for each one, the run that has its unique key, or an empty word."""

    async def cancel_run(self, run_id: str) -> bool:
        """Ask that a run ends `aborted`; False when it had ended before."""
        [(answered, _)] = await self._end_runs([await self._record(run_id)], "cancelled")
        return answered in ("ended", "asked")

    async def discard(self, run_id: str) -> None:
        """End a dead run `aborted`. Raises `UnknownRunError`, or `FluidError` when it is not dead."""
        [(answered, _)] = await self._end_runs([await self._record(run_id)], "discarded", only="dead")
        if answered != "ended":
            now = await self._record(run_id)
            raise FluidError(f"run {run_id} is {now.state}: only a dead run can be discarded")

    async def replay(self, run_id: str) -> TaskRun[Any]:
        """Give a run another chance: a dead one is ready again as itself, a failed one as a new run.

        Raises `UnknownRunError`, `UniqueRunError`, or `FluidError` when it is neither dead nor failed.
        """
        record = await self._record(run_id)
        if record.state is TaskState.failure:
            run, submission = replay_of(record, self)
            [owner] = await self._submit([run], [submission])
            if owner:
                raise UniqueRunError(run.name, owner)
            return run
        answered = await self._broker.replay(run_id)
        if isinstance(answered, Refusal):
            raise UniqueRunError(record.task, answered.run_id)
        if answered != "replayed":
            raise FluidError(f"run {run_id} is {record.state}: only a dead or a failed run can be replayed")
        return await self.get_run(run_id)

    async def discard_all(
        self,
        *,
        task: str = "",
        reason: str = "",
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> AsyncGenerator[Decided]:
        """End all dead runs that `list_runs` lists; each is told once it has ended: `async for one in ...`.

        They are decided about a hundred at a time, and a hundred is done whole or not at all. Whoever is
        stopped on the way calls again, and goes on with the rest; what others decide meanwhile is left out.
        """
        async for records in self._meant(TaskState.dead, task, reason, since, until):
            # all are told of before one is given to the caller, who may not come back for the next
            for answered, run in await self._end_runs(records, "discarded", only="dead"):
                if answered == "ended":
                    yield Decided(run.id, run)

    async def replay_all(
        self,
        state: TaskState,
        *,
        task: str = "",
        reason: str = "",
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> AsyncGenerator[Decided]:
        """Replay all runs in this state, dead or failed, that `list_runs` lists; otherwise as `discard_all`.

        A failed run that was replayed before is left out, and so are those that go wrong again meanwhile.
        Raises `FluidError` for another state, and what `queue` raises.
        """
        replay = {TaskState.dead: self._replay_dead, TaskState.failure: self._replay_failed}.get(state)
        if replay is None:
            raise FluidError(f"runs that are {state} cannot be replayed: only dead or failed ones")
        async for records in self._meant(state, task, reason, since, until):
            for one in await replay(records):
                yield one

    async def _meant(
        self, state: TaskState, task: str, reason: str, since: datetime | None, until: datetime | None
    ) -> AsyncGenerator[list[RunRecord]]:
        """All of them, newest first: what comes meanwhile comes before where we are, and is not met."""
        after = ""
        while True:
            page = await self._records(
                state, task=task, reason=reason, since=since, until=until, limit=DECIDED_AT_ONCE, after=after
            )
            yield page
            after = page.after
            if not after:
                return

    async def _replay_dead(self, records: Sequence[RunRecord]) -> list[Decided]:
        decided = []
        answers = await self._broker.replay_many([record.id for record in records])
        for record, answered in zip(records, answers, strict=True):
            if isinstance(answered, Refusal):
                decided.append(Decided(record.id, error=UniqueRunError(record.task, answered.run_id)))
            elif answered == "replayed":
                again = replace(record, state=TaskState.queued, failures=0, losses=0, reason="", outcome=b"")
                decided.append(Decided(record.id, run_of_record(again, self)))
        return decided

    async def _replay_failed(self, records: Sequence[RunRecord]) -> list[Decided]:
        decided, replays = [], {}
        for record in records:
            if not record.replayed_as:
                try:
                    replays[record.id] = replay_of(record, self, once=True)
                except FluidError as error:
                    decided.append(Decided(record.id, error=error))
        if not replays:
            return decided
        runs, written = zip(*replays.values(), strict=True)
        for failed, run, owner in zip(replays, runs, await self._submit(runs, written), strict=True):
            if owner:
                decided.append(Decided(failed, error=UniqueRunError(run.name, owner)))
            elif run.state is not TaskState.init:  # else somebody has replayed it meanwhile
                decided.append(Decided(failed, run))
        return decided

    async def _make_way(self, run_id: str) -> bool:
        """End a run that has not started, for another one; False when it has."""
        record = await self._broker.get_run(run_id)
        if record is None:
            return True
        [(answered, _)] = await self._end_runs([record], "replaced", only="waiting")
        return answered in ("ended", "over", "unknown")

    async def _end_runs(
        self, records: Sequence[RunRecord], reason: str, *, only: str = ""
    ) -> list[tuple[str, TaskRun[Any]]]:
        """What `cancel_many` answers of each, and the run; those that were ended are told of."""
        return await self._under_way.finish(self._end_and_tell(records, reason, only))

    async def _end_and_tell(
        self, records: Sequence[RunRecord], reason: str, only: str
    ) -> list[tuple[str, TaskRun[Any]]]:
        answers = await self._broker.cancel_many([record.id for record in records], only=only, reason=reason)
        runs = [run_of_record(record, self) for record in records]
        for run, answered in zip(runs, answers, strict=True):
            if answered == "ended" and not run.is_done:
                run.state, run.reason = TaskState.aborted, reason
                for name in ("end", "aborted"):
                    self._announcer.announce(name, run, reason=reason)
        return list(zip(answers, runs, strict=True))
