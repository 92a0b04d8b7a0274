"""The workers that these tests employ."""

from __future__ import annotations

import asyncio

from fluid.testing.waiting import Watch
from fluid.workers import Worker
from fluid.workers.waiting import any_of


class Diary:
    """What happened, in order, and a way to wait for it."""

    def __init__(self) -> None:
        self.entries: list[str] = []
        self._watch = Watch()

    def write(self, entry: str) -> None:
        self.entries.append(entry)
        self._watch.changed()

    async def wait_for(self, entry: str, count: int = 1) -> None:
        """Return once the entry was written `count` times."""
        await self._watch.until(
            lambda: self.entries.count(entry) >= count,
            lambda: f"{count} times {entry!r}; written: {self.entries}",
        )


class Diligent(Worker):
    """Waits for the stop and writes down its life."""

    def __init__(
        self,
        name: str = "diligent",
        *,
        diary: Diary | None = None,
        critical: bool = True,
        stage: int = 0,
        stopping_grace_period: float = 10.0,
    ) -> None:
        super().__init__(
            name=name, critical=critical, stage=stage, stopping_grace_period=stopping_grace_period
        )
        self.diary = diary or Diary()

    async def on_startup(self) -> None:
        self.diary.write(f"{self.worker_name} startup")

    async def run(self) -> None:
        self.diary.write(f"{self.worker_name} run")
        await self.wait_for_stop()
        self.diary.write(f"{self.worker_name} stop")

    async def on_shutdown(self) -> None:
        self.diary.write(f"{self.worker_name} shutdown")


class Failing(Diligent):
    """Runs until `fail` is called, and raises then; or until it is asked to stop."""

    def __init__(self, name: str = "failing", *, diary: Diary | None = None, critical: bool = True) -> None:
        super().__init__(name, diary=diary, critical=critical)
        self._failure = asyncio.Event()

    def fail(self) -> None:
        self._failure.set()

    async def run(self) -> None:
        self.diary.write(f"{self.worker_name} run")
        await any_of(self._failure, self._stop)
        if self._failure.is_set():
            self._failure.clear()
            raise ValueError("out of ink")


class Unstartable(Diligent):
    """Raises instead of starting up."""

    def __init__(
        self,
        error: Exception,
        name: str = "unstartable",
        *,
        diary: Diary | None = None,
        critical: bool = True,
        stage: int = 0,
    ) -> None:
        super().__init__(name, diary=diary, critical=critical, stage=stage)
        self.cause = error

    async def on_startup(self) -> None:
        self.diary.write(f"{self.worker_name} startup")
        raise self.cause


class HungAtStart(Diligent):
    """Never has done with starting up."""

    async def on_startup(self) -> None:
        self.diary.write(f"{self.worker_name} startup")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.diary.write(f"{self.worker_name} cancelled")
            raise


class Stubborn(Diligent):
    """Does not stop when asked, only when cancelled."""

    async def run(self) -> None:
        self.diary.write(f"{self.worker_name} run")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.diary.write(f"{self.worker_name} cancelled")
            raise


class Deaf(Diligent):
    """Ignores also that it is cancelled, until the test lets it go."""

    abandon_after = 0.01

    def __init__(self, name: str = "deaf", *, diary: Diary | None = None, stage: int = 0) -> None:
        super().__init__(name, diary=diary, stage=stage)
        self._let_go = asyncio.Event()

    async def run(self) -> None:
        self.diary.write(f"{self.worker_name} run")
        while not self._let_go.is_set():
            try:
                await self._let_go.wait()
            except asyncio.CancelledError:
                self.diary.write(f"{self.worker_name} ignores")

    async def let_go(self) -> None:
        """Have it end, so that it does not outlive the test."""
        self._let_go.set()
        await self.diary.wait_for(f"{self.worker_name} shutdown")
