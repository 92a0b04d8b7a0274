"""Who is measured: this project with several parts of telemetry on, and its peers."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

PINS = Path(__file__).with_name("peers.toml")

OURS = {
    "fluid": "metrics+logs+traces",
    "fluid, telemetry off": "",
}
"""Our rows and the parts of telemetry that are on."""

EVERYTHING, BARE = OURS


@dataclass(frozen=True)
class Contender:
    """A row of the tables."""

    name: str
    room: str
    runs: int
    results: bool
    mode: str = ""
    environment: str = ""
    requirements: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    differs: str = ""

    @property
    def is_ours(self) -> bool:
        """Measured in the environment of this project."""
        return not self.environment


def ours(runs: int = 20_000) -> list[Contender]:
    """This project: with everything on, and with telemetry off."""
    return [Contender(name, "fluid_peer", runs, results=True, mode=parts) for name, parts in OURS.items()]


def peers() -> list[Contender]:
    """The others, as `peers.toml` pins them."""
    pinned = tomllib.loads(PINS.read_text())
    found = []
    for name, row in pinned.items():
        environment = row.get("environment", name)
        requirements = tuple(pinned[environment]["requirements"])
        found.append(Contender(name, **row | {"environment": environment, "requirements": requirements}))
    return found
