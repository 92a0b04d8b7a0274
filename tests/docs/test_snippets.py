"""What the pages tell to do works, and says what they show."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from importlib.util import find_spec
from pathlib import Path

import pytest

from fluid.cli.commands import COMMANDS
from fluid.cli.run_commands import RUN_COMMANDS
from tests.docs.pages import Command, File, Output, pages, steps
from tests.support.processes import ROOT, PythonProcess
from tests.support.queues import queue_of_its_own
from tests.support.servers import RedisServer

ELSEWHERE = {"curl", "git", "pip", "uvicorn", "promtool"}
"""Programs that are not ours: a page may name them, and they are not run here."""

LINK = re.compile(r"\]\((?!https?:)(?P<path>[^)#]*)(?:#(?P<anchor>[^)]*))?\)")
HEADING = re.compile(r"^#+ (?P<title>.+)$", re.MULTILINE)

every_page = pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)


class Reader:
    """Follows a page in a directory of its own. What it leaves running ends with the page."""

    def __init__(self, directory: Path, broker_url: str) -> None:
        self._directory = directory
        self._consumers: list[PythonProcess] = []
        self._env = {
            "FLUID_BROKER_URL": broker_url,
            "FLUID_TELEMETRY_PORT": "0",
            "PYTHONPATH": os.pathsep.join([str(directory), str(ROOT)]),
        }

    async def follow(self, page: Path) -> int:
        """Do what the page tells, from top to bottom; how much of it was done or compared."""
        said: str | None = None
        followed = 0
        async with AsyncExitStack() as running:
            for step in steps(page):
                followed += 1
                match step:
                    case File(name, text):
                        (self._directory / name).write_text(text, encoding="utf-8")
                    case Command(("fluid", "run", *rest)):
                        said = None
                        await running.enter_async_context(consumer := self._consumer(*rest))
                        await consumer.wait_for_line(r"^tasks ")
                    case Command(words):
                        said = await self._call(words)
                    case Output() if said is not None:
                        assert step.is_said_by(said), f"shown:\n{step.text}\nsaid:\n{said}"
            for consumer in self._consumers:
                consumer.terminate()
                assert await consumer.wait() == 0, consumer.output
        return followed

    async def _call(self, words: tuple[str, ...]) -> str | None:
        """What a command says; None for one that is not run."""
        match words:
            case ("python", name, *rest) if name.endswith(".py"):
                return await self._run_to_end(self._directory / name, *rest)
            case ("fluid", *rest):
                return await self._run_to_end("-m", "fluid.cli", *rest)
            case ("pytest", *rest):
                return await self._run_to_end("-m", "pytest", "-q", "-p", "fluid.pytest_plugin", *rest)
        return None

    def _consumer(self, *arguments: str) -> PythonProcess:
        output = self._directory / f"{arguments[0]}.out"
        consumer = PythonProcess("-m", "fluid.cli", "run", *arguments, output=output, env=self._env)
        self._consumers.append(consumer)
        return consumer

    async def _run_to_end(self, *arguments: str | Path) -> str:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *arguments,
            cwd=self._directory,
            env=os.environ | self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            said, complained = await process.communicate()
        except BaseException:
            process.kill()
            await process.wait()
            raise
        assert process.returncode == 0, (said + complained).decode()
        return said.decode()


@pytest.fixture
def reader(tmp_path: Path, valkey_server: RedisServer) -> Iterator[Reader]:
    """Somebody who follows pages, with a queue of its own."""
    with queue_of_its_own(valkey_server) as queue:
        yield Reader(tmp_path, queue.url)


@every_page
@pytest.mark.timeout(180)  # the longest one takes half a minute, on a machine that has nothing else to do
async def test_what_a_page_tells_to_do_says_what_it_shows(page: Path, reader: Reader) -> None:
    assert await reader.follow(page) == len([*steps(page)])


@every_page
def test_a_program_on_a_page_is_used(page: Path) -> None:
    followed = list(steps(page))
    for file in (step for step in followed if isinstance(step, File)):
        module = file.name.removesuffix(".py")
        called = any(isinstance(step, Command) and {file.name, module} & words_of(step) for step in followed)
        imported = any(isinstance(step, File) and f"import {module}\n" in step.text for step in followed)
        assert called or imported or file.name == "conftest.py", f"{file.name} is neither called nor imported"


def words_of(command: Command) -> set[str]:
    """The words of a command, and the modules that it names as `module:consumer`."""
    return {part for word in command.words for part in (word, word.partition(":")[0])}


@every_page
def test_a_command_on_a_page_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    faults = [
        str(command)
        for command in steps(page)
        if isinstance(command, Command) and not exists(command.words, targets)
    ]
    assert not faults


def exists(words: tuple[str, ...], targets: set[str]) -> bool:
    """Whether there is something to call."""
    match words:
        case ("make", target, *_):
            return target in targets
        case (("fluid" | ".venv/bin/fluid"), "runs", command, *_):
            return command in RUN_COMMANDS
        case (("fluid" | ".venv/bin/fluid"), command, *_):
            return command in COMMANDS
        case ("python", "-m", module, *_):
            return find_spec(module) is not None
        case ("python", _, *_) | ("pytest", *_):
            return True
        case (program, *_):
            return program in ELSEWHERE
    return False


@every_page
def test_a_link_on_a_page_leads_somewhere(page: Path) -> None:
    faults = []
    for link in LINK.finditer(page.read_text(encoding="utf-8")):
        target = (page.parent / link["path"]).resolve() if link["path"] else page
        if not target.exists() or (link["anchor"] and link["anchor"] not in anchors(target)):
            faults.append(link.group())
    assert not faults


def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings make."""
    titles = (heading["title"] for heading in HEADING.finditer(page.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in titles}


@pytest.mark.parametrize(
    ("shown", "said", "fits"),
    [
        ("one\ntwo", "one\ntwo\n", True),
        ("one", "one\ntwo", False),
        ("one ... three", "one two three", True),
        ("at ...:80", "at 127.0.0.1:81", False),
    ],
)
def test_output_is_compared_but_for_what_is_left_out(shown: str, said: str, fits: bool) -> None:
    assert Output(shown).is_said_by(said) is fits
