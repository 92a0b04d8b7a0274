"""A worker made of a function."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

from fluid.workers.worker import Worker


class WorkerFunction(Worker):
    """Calls an async function again and again until it is asked to stop."""

    def __init__(
        self,
        function: Callable[[], Awaitable[None]],
        *,
        heartbeat: float = 0.0,
        jitter: float = 0.0,
        repeat: bool = True,
        name: str = "",
        critical: bool = True,
        stopping_grace_period: float = 10.0,
        stage: int = 0,
    ) -> None:
        """
        `heartbeat`: seconds between the end of a call and the next one.
        `jitter`: up to this many seconds more, at random.
        `repeat`: False to call once and end.
        `name`: the function's own when empty.
        """
        super().__init__(
            name=name or getattr(function, "__name__", ""),
            critical=critical,
            stopping_grace_period=stopping_grace_period,
            stage=stage,
        )
        self.may_end = not repeat
        self._function = function
        self._heartbeat = heartbeat
        self._jitter = jitter

    async def run(self) -> None:
        """Call, pause, and again."""
        while not self.is_stopping():
            await self._function()
            if self.may_end:
                return
            await self.wait_for_stop(self._heartbeat + random.uniform(0.0, self._jitter))
