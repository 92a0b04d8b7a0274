"""A broker that comes back older than it was: its file cut short, or a replica in its place.

Nothing in here asks the broker under test what it has lost: what was there before is read from a copy of
its files, by a server that nobody else knows.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from redis.exceptions import ResponseError

from fluid.clock import elapsed
from fluid.scheduler.brokers.keys import Keys
from tests.support.lifeline import LOOPBACK
from tests.support.servers import RedisServer

FILES = "appendonlydir"
MOST_CUT = 100_000
"""Bytes that a file is shorter at most."""
BATCH = 1000
FINAL = (b"success", b"failure", b"aborted")
EXEC = b"*1\r\n$4\r\nEXEC\r\n"

Fields = dict[bytes, bytes]


@dataclass(frozen=True)
class Rewind:
    """What a broker forgot."""

    at: float
    """When it came back, on the monotonic clock."""
    accepted: int
    """By how much its total fell."""
    taken_back: frozenset[str]
    """Runs that it knew, and knows no more."""
    set_back: frozenset[str]
    """Runs that are again where they were before."""
    given_back: frozenset[str] = frozenset()
    """Runs that it knows again, or knows to have ended: a replica may have what a file has just lost."""

    @classmethod
    def between(cls, before: Memory, after: Memory) -> Rewind:
        """What the one has, or has otherwise, and the other has not."""
        gone = before.records.keys() - after.records.keys()
        stayed = before.records.keys() & after.records.keys()
        moved = {run_id for run_id in stayed if before.records[run_id] != after.records[run_id]}
        # that a run was claimed is not in its record
        moved |= stayed & before.claimed - after.claimed
        return cls(
            elapsed(),
            before.accepted - after.accepted,
            frozenset(gone),
            frozenset(moved),
            frozenset(after.records.keys() - before.records.keys() | moved & after.ended),
        )


@dataclass(frozen=True)
class Memory:
    """What files hold of a queue."""

    accepted: int
    records: Mapping[str, Fields]
    claimed: frozenset[str]
    """Runs that are in somebody's hands."""
    ended: frozenset[str]

    @classmethod
    def of(cls, original: RedisServer, queue: str) -> Memory:
        """Read from a copy of the files of a server that does not run."""
        keys = Keys(queue)
        with tempfile.TemporaryDirectory(prefix="fluid-chaos-") as directory:
            shutil.copytree(original.directory / FILES, Path(directory) / FILES)
            copy = RedisServer(original.flavour, appendonly=True, directory=Path(directory))
            with copy, copy.client() as client:
                found = list(client.scan_iter(match=f"{keys['run']}*", count=BATCH))
                records: dict[str, Fields] = {}
                for start in range(0, len(found), BATCH):
                    some = found[start : start + BATCH]
                    with client.pipeline(transaction=False) as pipeline:
                        for key in some:
                            pipeline.hgetall(key)
                        told = pipeline.execute(raise_on_error=False)
                    for key, fields in zip(some, told, strict=True):
                        # a success is one string
                        record = {b"": client.get(key)} if isinstance(fields, ResponseError) else fields
                        records[key.decode().removeprefix(keys["run"])] = record
                accepted = client.hget(keys["books"], "accepted")
                leases = set(client.zrange(keys["leases"], 0, -1))
        claimed = {run_id for run_id, fields in records.items() if _token(fields) in leases}
        ended = {run_id for run_id, fields in records.items() if fields.get(b"at", b"success") in FINAL}
        return cls(int(accepted or 0), records, frozenset(claimed), frozenset(ended))


def _token(fields: Fields) -> bytes:
    """By which a run is claimed, if it is."""
    return fields.get(b"at", b"") + b"/" + fields.get(b"entry", b"")


def shorten(server: RedisServer, by: int) -> None:
    """Take so many bytes off the file of a server that does not run, and more: it ends with a transaction.

    So the server's own tool for a cut file leaves it. A server that loads one that ends within a transaction
    keeps its beginning, and carries that out when it is started once more.
    """
    file = max((server.directory / FILES).glob("*.incr.aof"), key=lambda path: int(path.name.split(".")[2]))
    written = file.read_bytes()
    whole = written.rfind(EXEC, 0, max(0, len(written) - by))
    with file.open("r+b") as opened:
        opened.truncate(0 if whole < 0 else whole + len(EXEC))


def cut_file(server: RedisServer, queue: str, part: float) -> Rewind:
    """Kill the server, and start it with a file that has lost this part of the most it can lose."""
    server.kill()
    before = Memory.of(server, queue)
    shorten(server, 1 + int(part * MOST_CUT))
    rewind = Rewind.between(before, Memory.of(server, queue))
    server.start()
    return rewind


class Replica:
    """Follows the broker, lags behind it when told to, and takes its place."""

    def __init__(self, original: RedisServer) -> None:
        self._original = original
        self.server = RedisServer(original.flavour, appendonly=True)

    def follow(self) -> None:
        """Copy everything the broker does from now on."""
        with self.server.client() as client:
            client.replicaof(LOOPBACK, self._original.port)

    def promote(self, queue: str) -> Rewind:
        """Kill the broker and the replica, which was paused and lags behind; the broker gets its files."""
        self._original.kill()
        self.server.kill()  # with what was on its way to it
        before = Memory.of(self._original, queue)
        shorten(self.server, 0)
        rewind = Rewind.between(before, Memory.of(self.server, queue))
        files = self._original.directory / FILES
        shutil.rmtree(files)
        shutil.copytree(self.server.directory / FILES, files)
        self._original.start()
        self.server.start()
        self.follow()
        return rewind
