"""Calls of the `fluid` command, as a process of its own, and what it answers."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.processes import ROOT

SHOP = "tests.fluid.cli.shop:consumer"
COMMAND = ("-m", "fluid.cli")
PROGRAM = ("-m", "tests.fluid.cli.shop")


@dataclass(frozen=True)
class Answer:
    """What a call said and left with."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON value on its stdout."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        """The lines of its stdout."""
        return self.out.splitlines()


async def call(
    *arguments: str, env: dict[str, str] | None = None, program: tuple[str, ...] = COMMAND
) -> Answer:
    """`fluid *arguments` in the checkout; `env` comes on top of ours."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *program,
        *arguments,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | (env or {}),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return Answer(process.returncode, out.decode(), err.decode())


def install(site: Path, **groups: dict[str, str]) -> dict[str, str]:
    """The environment of a process for which a distribution with these entry points is installed.

    The groups are `plugins` and `commands`; our own builder of command lines is always there.
    """
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    points = {"cli": declared["project"]["entry-points"]["fluid.cli"]} | groups
    info = site / "shop_signs-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: shop-signs\nVersion: 1.0\n", encoding="utf-8"
    )
    (info / "entry_points.txt").write_text(
        "".join(
            f"[fluid.{group}]\n" + "".join(f"{name} = {value}\n" for name, value in named.items())
            for group, named in points.items()
        ),
        encoding="utf-8",
    )
    return {"PYTHONPATH": os.pathsep.join([str(ROOT), str(site)])}
