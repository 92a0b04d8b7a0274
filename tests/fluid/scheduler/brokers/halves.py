"""Moves cut in half: what a server has written of one, carried out up to any of its commands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from redis import Redis, ResponseError

from fluid.scheduler.brokers.keys import GROUP, LETTERS, STREAM_CODES, Keys
from tests.fluid.scheduler.brokers.desk import LONG, Desk, outcome
from tests.support.resp import Frames
from tests.support.servers import RedisServer

Command = list[bytes]
FINAL = (b"success", b"failure", b"aborted")


class AppendOnlyFile:
    """What a server with an append-only file has written since it was last asked."""

    def __init__(self, server: RedisServer) -> None:
        self._directory = server.directory / "appendonlydir"
        self._read = 0
        self.news()

    def _file(self) -> Path:
        (file,) = self._directory.glob("*.incr.aof")
        return file

    def news(self) -> list[Command]:
        """The commands, those of a transaction between MULTI and EXEC."""
        with self._file().open("rb") as file:
            file.seek(self._read)
            written = file.read()
        self._read += len(written)
        commands = [words_of(frame) for frame in Frames().feed(written)]
        return [words for words in commands if words[0].upper() != b"SELECT"]


def words_of(frame: bytes) -> Command:
    """A request's words; none of them is cut by what it contains."""
    words, at = [], frame.index(b"\r\n") + 2
    while at < len(frame):
        line = frame.index(b"\r\n", at)
        begin, size = line + 2, int(frame[at + 1 : line])
        words.append(frame[begin : begin + size])
        at = begin + size + 2
    return words


def halves(written: list[Command]) -> Iterator[list[Command]]:
    """What is carried out when the file ends within one of its transactions, for every such end."""
    whole: list[Command] = []
    begun: int | None = None
    for words in written:
        match words[0].upper():
            case b"MULTI":
                begun = len(whole)
            case b"EXEC":
                assert begun is not None
                yield from (whole[:end] for end in range(begun + 1, len(whole)))
                begun = None
            case _:
                whole.append(words)


class Restored:
    """A queue whose server came back with half a move: its consumers are away, and others work it off."""

    def __init__(self, desk: Desk, client: Redis, done: list[Command], of: str) -> None:
        """What these commands of another queue make of an empty one."""
        self._desk, self._client = desk, client
        self.ended: Counter[str] = Counter()
        """How often each run has ended, by what was told."""
        self.lost: Counter[str] = Counter()
        """How often each run was told to be delivered again."""
        before, after = Keys(of).prefix.encode(), desk.keys.prefix.encode()
        with client.pipeline(transaction=False) as pipeline:
            for key in desk.own.keys(client):
                pipeline.unlink(key)
            for words in done:
                pipeline.execute_command(*(word.replace(before, after) for word in words))
            pipeline.execute()

    async def upkeep(self) -> None:
        """One sweep, and then a rescue when every lease has run out."""
        keys = self._desk.keys
        await self._desk.broker.sweep(interval=0.0)
        leases: Any = self._client.zrange(keys["leases"], 0, -1, withscores=True)
        if leases:
            self._client.zadd(keys["leases"], {token: min(expiry, 1) for token, expiry in leases})
        for one in await self._desk.rescue(max_deliveries=100):
            self.lost[one.record.id] += 1

    async def work_off(self) -> None:
        """Claim and end whatever there is, and let go what waits, as a person would."""
        broker, keys = self._desk.broker, self._desk.keys
        await broker.resume("greet")
        # its model is one that nothing was tried on
        self._client.hset(keys["consumers"], "bob", '{"models":{"greet":"new"}}')
        while True:
            runs = await self._desk.take(10, "bob", held=("greet",))
            settled = await broker.settle([outcome(run, ttl=LONG) for run in runs]) if runs else None
            for run, accepted in zip(runs, settled.accepted if settled else (), strict=True):
                self.ended[run.id] += accepted
            dead, later = self._listed("dead"), self._listed("scheduled")
            let_go = (await broker.replay_many(dead)).count("replayed") + await broker.hasten(later)
            if not runs and not let_go:
                return

    def _listed(self, family: str) -> list[str]:
        """The runs in lists, whatever their records say."""
        with self._client.pipeline(transaction=False) as pipeline:
            for letter in LETTERS:
                pipeline.zrange(self._desk.keys[f"{family}_{letter}"], 0, -1)
            return [member.rpartition(b"\0")[2].decode() for found in pipeline.execute() for member in found]

    def ends(self) -> Counter[str]:
        """The runs that have ended, by what is kept of them."""
        prefix = self._desk.keys["run"]
        records = [key for key in self._desk.own.keys(self._client) if key.startswith(prefix)]
        with self._client.pipeline(transaction=False) as pipeline:
            for key in records:
                pipeline.hget(key, "at")
            # of a success a string is kept, of which no field can be asked
            told = pipeline.execute(raise_on_error=False)
        return Counter(
            key.removeprefix(prefix)
            for key, at in zip(records, told, strict=True)
            if at in FINAL or isinstance(at, ResponseError)
        )

    async def left_over(self) -> list[str]:
        """What is there though every run has ended."""
        keys = self._desk.keys
        streams = [keys[f"stream_{code}"] for code in STREAM_CODES]
        lists = [keys[f"{family}_{letter}"] for family in ("scheduled", "held", "dead") for letter in LETTERS]
        lists += [keys[name] for name in ("leases", "cancelled")]
        passing = [key for key in self._desk.own.keys(self._client) if key not in keys.permanent()]
        with self._client.pipeline(transaction=False) as pipeline:
            for stream in streams:
                pipeline.xlen(stream)
            for stream in streams:
                pipeline.xpending(stream, GROUP)
            for key in lists:
                pipeline.exists(key)
            for key in passing:
                pipeline.ttl(key)
            told = iter(pipeline.execute())
        found = [stream for stream in streams if next(told)]
        found += [f"pending in {stream}" for stream in streams if next(told)["pending"]]
        found += [key for key in lists if next(told)]
        found += [f"{key}, for ever" for key in passing if next(told) == -1]
        return found
