"""What the server tells of itself: what it keeps, how much room it has, and what time it thinks it is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fluid.clock import timestamp
from fluid.errors import BrokerError, BrokerUnavailableError
from fluid.scheduler.moves import BrokerReport, Durability

Command = Callable[..., Awaitable[Any]]

_FLUSHED = {
    b"always": Durability.aof_always,
    b"everysec": Durability.aof_everysec,
    b"no": Durability.aof_no,
}


class Inspection:
    """Looks at a server. One that keeps its configuration to itself is asked for it once."""

    def __init__(self, command: Command) -> None:
        self._command = command
        self._tells_configuration = True

    async def look(self) -> BrokerReport:
        """What the server tells now."""
        clock_offset = await self._clock_offset()
        info = read_info(await self._command("INFO"))
        limit = int(info.get("maxmemory", 0))
        return BrokerReport(
            durability=await self._durability(info),
            evicts=limit > 0 and info.get("maxmemory_policy") != "noeviction",
            replica=info.get("role") != "master",
            memory_used=int(info.get("used_memory", 0)),
            memory_limit=limit,
            clock_offset=clock_offset,
            server=product_of(info),
        )

    async def _clock_offset(self) -> float:
        before = timestamp()
        seconds, microseconds = await self._command("TIME")
        after = timestamp()
        told = int(seconds) + int(microseconds) / 1e6
        # it was read somewhere between the two: what lies between them may be the call itself
        return told - min(max(told, before), after)

    async def _durability(self, info: dict[str, str]) -> Durability:
        if info.get("aof_enabled") == "1":
            return _FLUSHED.get(await self._setting("appendfsync"), Durability.aof_no)
        return Durability.rdb if await self._setting("save") else Durability.none

    async def _setting(self, name: str) -> bytes:
        """A line of its configuration; nothing where it may not be asked for that."""
        if not self._tells_configuration:
            return b""
        try:
            return bytes((await self._command("CONFIG", "GET", name))[1])
        except BrokerUnavailableError:
            raise
        except BrokerError:
            self._tells_configuration = False
            return b""


def product_of(info: Mapping[str, str]) -> str:
    """Product and version, such as `valkey 9.1.2`."""
    # Valkey also tells the version of Redis that it takes the place of.
    name = "valkey" if "valkey_version" in info else "redis"
    return f"{name} {info.get(f'{name}_version', '')}".rstrip()


def read_info(report: bytes) -> dict[str, str]:
    """The server's own report, line by line."""
    return dict(line.split(":", 1) for line in report.decode().splitlines() if ":" in line)
