"""The command line itself: its help, its version, its plugins, and what it does not load."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

import fluid
from fluid.cli.arguments import ListedState, Priority
from fluid.scheduler import TaskPriority, TaskState
from tests.fluid.cli.calling import PROGRAM, SHOP, call, install
from tests.support.processes import ROOT

LIGHT = ("fluid.cli", "fluid.errors", "fluid.clock")
HEAVY = {
    "aiohttp",
    "msgspec",
    "opentelemetry",
    "prometheus_client",
    "redis",
    "rich",
    "structlog",
    "telemetry",
}
GAMES = "tests.fluid.cli.signs:games"


def loaded_by(arguments: list[str], site: Path) -> set[str]:
    """Every module that a call of the command has loaded in the end, with a plugin's command installed."""
    program = (
        "import atexit, sys, fluid.cli\n"
        "atexit.register(lambda: print('LOADED', *sys.modules))\n"
        f"fluid.cli.main({arguments!r})\n"
    )
    environment = install(site, commands={"games": GAMES})
    answer = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    told, _, loaded = answer.stdout.partition("LOADED")
    assert "Usage: fluid" in told
    return set(loaded.split())


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["runs", "ls", "--help"]])
def test_help_loads_no_room_that_does_the_work(arguments: list[str], tmp_path: Path) -> None:
    loaded = loaded_by(arguments, tmp_path)
    assert "fluid.cli.commands" in loaded
    assert not {name for name in loaded if name.startswith("fluid.") and not name.startswith(LIGHT)}
    assert not {name.split(".")[0] for name in loaded} & HEAVY
    assert "tests.fluid.cli.signs" not in loaded


def test_the_first_help_does_not_even_load_what_typer_checks_options_with(tmp_path: Path) -> None:
    assert "pydantic" not in loaded_by(["--help"], tmp_path)


async def test_help_names_every_command() -> None:
    whole, runs = await call("--help"), await call("runs", "--help")
    assert whole.code == runs.code == 0
    for name in ("run", "queue", "exec", "tasks", "status", "cancel", "pause", "resume", "doctor", "runs"):
        assert f"\n  {name} " in whole.out
    for name in ("ls", "show", "replay", "discard"):
        assert f"\n  {name} " in runs.out


async def test_it_says_its_version() -> None:
    assert (await call("--version")).out == f"fluid {fluid.__version__}\n"


async def test_a_wrong_call_answers_2_and_says_what_was_meant() -> None:
    answer = await call("statsu")
    assert answer.code == 2
    assert answer.out == ""
    assert "Did you mean 'status'" in answer.err


async def test_a_plugins_command_is_listed_and_run(tmp_path: Path) -> None:
    site = install(tmp_path, commands={"games": GAMES})
    told = await call("--help", env=site)
    assert re.search(r"games +from shop-signs", told.out)
    answer = await call("games", "chess", env=site)
    assert (answer.code, answer.out) == (0, "a game of chess\n")


async def test_a_plugins_command_that_takes_a_manager_is_handed_the_one_that_is_meant(tmp_path: Path) -> None:
    site = install(tmp_path, commands={"opening": "tests.fluid.cli.signs:opening"})
    site |= {"FLUID_BROKER_URL": "redis://127.0.0.1:1?name=corner"}
    named = await call("opening", SHOP, "--hours", "9", env=site)
    assert (named.code, named.out) == (3, "corner opens for 9 hours\n")
    bound = await call("opening", env=site, program=PROGRAM)
    assert (bound.code, bound.out) == (3, "corner opens for 8 hours\n")
    told = await call("opening", "--help", env=site, program=PROGRAM)
    assert "MODULE:CONSUMER" not in told.out
    nobody = await call("opening", "tests.fluid.cli.shop:nobody", env=site)
    assert nobody.code == 2
    assert "has no 'nobody'" in nobody.err


async def test_a_plugins_command_that_does_not_load_is_named_and_harms_no_other(tmp_path: Path) -> None:
    site = install(tmp_path, commands={"games": "no_such_module:games"})
    answer = await call("games", env=site)
    assert answer.code == 1
    assert answer.err.startswith("Error: the command 'games' (no_such_module:games) does not load")
    assert len(answer.err.splitlines()) == 1
    assert (await call("--help", env=site)).code == 0


@pytest.mark.parametrize(
    "command", ["run", "queue", "exec", "tasks", "status", "cancel", "pause", "resume", "doctor"]
)
async def test_a_program_of_its_own_has_the_commands_without_the_target(tmp_path: Path, command: str) -> None:
    told = await call(command, "--help", env=install(tmp_path), program=PROGRAM)
    assert told.code == 0
    assert "MODULE:CONSUMER" not in told.out
    assert "--broker-url" not in told.out


async def test_a_program_of_its_own_has_its_tasks(tmp_path: Path) -> None:
    site = install(tmp_path)
    listed = await call("tasks", "--json", env=site, program=PROGRAM)
    assert [one["name"] for one in listed.json][:2] == ["add", "charge"]


def test_every_state_that_can_be_listed_and_every_priority_is_offered() -> None:
    assert set(get_args(ListedState)) == {str(state) for state in TaskState} - {"init", "success", "aborted"}
    assert get_args(Priority) == tuple(str(priority) for priority in TaskPriority)
