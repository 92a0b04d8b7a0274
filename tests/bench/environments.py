"""A virtual environment for each peer, made once under `.bench/`, so that none shares a library with us."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from tests.bench.contenders import Contender
from tests.support.processes import ROOT

CACHE = ROOT / ".bench"
ROOMS = CACHE / "rooms"
"""A copy of the peers' rooms: one of the peers has a package of our name, which must not be found there."""


def python_of(contender: Contender) -> str:
    """The interpreter to run it with; its environment is made if there is none with these pins."""
    if contender.is_ours:
        return sys.executable
    place = CACHE / contender.environment
    stamp, wanted = place / "installed.txt", "\n".join(contender.requirements)
    python = place / "bin" / "python"
    if not stamp.exists() or stamp.read_text() != wanted:
        venv.EnvBuilder(with_pip=True, clear=True).create(place)
        install = [str(python), "-m", "pip", "install", "--quiet", *contender.requirements]
        subprocess.run(install, check=True, stdin=subprocess.DEVNULL)
        stamp.write_text(wanted)
    return str(python)


def place_of(contender: Contender) -> Path:
    """The directory to run it in."""
    return ROOT if contender.is_ours else ROOMS


def copy_rooms() -> None:
    """Bring the copy of the peers' rooms up to date."""
    shutil.rmtree(ROOMS, ignore_errors=True)
    shutil.copytree(ROOT / "tests" / "bench" / "peers", ROOMS / "tests" / "bench" / "peers")
    for package in ("tests", "tests/bench"):
        (ROOMS / package / "__init__.py").touch()


def surroundings(contender: Contender) -> dict[str, str]:
    """Its environment variables: ours, without what would lead it to our rooms."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FLUID_", "OTEL_"))}
    return kept | {"PYTHONPATH": str(place_of(contender)), "PYTHONUNBUFFERED": "1"}
