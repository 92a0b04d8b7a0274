"""What a server must be for runs to be kept in it: asked once, over the first connection to it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ResponseError

from fluid.errors import UnfitServerError
from fluid.scheduler.brokers.inspection import product_of, read_info
from fluid.scheduler.brokers.scripts import SCRIPTS

OLDEST = (7, 0)
"""The version of Redis since which scripts say when they may run. Valkey tells which Redis it stands for."""


@cache
def needed() -> tuple[str, ...]:
    """Every command that scripts call, and those that bring them and wait for them."""
    called = (re.findall(r"\bp?call\('([A-Z]+)'", script.source) for script in SCRIPTS)
    return tuple(sorted({"BLPOP", "CLIENT", "EVAL", "EVALSHA", "SUBSCRIBE"}.union(*called)))


async def check_server(connection: AbstractConnection, where: str) -> None:
    """Raise `UnfitServerError` when runs cannot be kept behind this connection.

    A server that does not let us ask is taken as it is: a move that it refuses says so itself.
    """
    await connection.send_command("INFO", "server", check_health=False)
    await connection.send_command("COMMAND", "INFO", *needed(), check_health=False)
    report, commands = await _answer(connection), await _answer(connection)
    info = read_info(report) if report else {}
    if (version := _version(info)) and version < OLDEST:
        raise UnfitServerError(
            f"the broker at {where} is {product_of(info)}, which is too old: "
            "fluid needs Redis 7.0 or newer, or Valkey"
        )
    if missing := [name for name, known in zip(needed(), commands or (), strict=False) if not known]:
        raise UnfitServerError(
            f"the broker at {where}, {product_of(info)}, has no {', '.join(missing)}: fluid needs "
            "Redis 7.0 or newer, or Valkey, whose configuration renames or removes none of these commands"
        )


async def _answer(connection: AbstractConnection) -> Any:
    try:
        return await connection.read_response(timeout=math.inf, disconnect_on_error=False)
    except ResponseError:
        return None


def _version(info: Mapping[str, str]) -> tuple[int, ...]:
    """Empty when it is not told."""
    told = re.match(r"(\d+)\.(\d+)", info.get("redis_version", ""))
    return tuple(map(int, told.groups())) if told else ()
