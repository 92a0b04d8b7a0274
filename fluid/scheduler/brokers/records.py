"""What the scripts answer, as the contract's own values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from fluid.scheduler.broker import ConsumerInfo
from fluid.scheduler.brokers.keys import LANES, LETTERS, STREAM_CODES, priority_letter
from fluid.scheduler.moves import (
    Claim,
    Claimed,
    Fate,
    Fired,
    Refusal,
    Rescued,
    RunRecord,
    Settlement,
    Submission,
    Tick,
    Tidied,
)
from fluid.scheduler.snapshot import Books, Depths, Snapshot
from fluid.scheduler.states import TaskPriority, TaskState

Flat = Sequence[bytes]

_MEDIUM = TaskPriority.medium
_PRIORITIES = {letter.encode(): priority for letter, priority in LETTERS.items()}


def milliseconds(seconds: float) -> int:
    """A duration as scripts take it."""
    return int(seconds * 1000)


def _pairs(flat: Flat) -> dict[bytes, bytes]:
    words = iter(flat)
    return dict(zip(words, words, strict=True))


def priority_of(letter: bytes) -> TaskPriority:
    """The priority that a script writes as one letter."""
    return _PRIORITIES.get(letter, _MEDIUM)


def read_claim(answer: Sequence[Any]) -> Claim:
    """The answer of `claim`."""
    now, accepted, next_due, filled, held, aside = answer[:6]
    return Claim(
        now=now,
        accepted=accepted,
        runs=[_claimed(now, *run) for run in answer[6:]],
        next_due=None if next_due < 0 else next_due / 1000,
        filled=bool(filled),
        held_tasks=tuple(name.decode() for name in held),
        aside=[
            (why.decode(), read_fields(flat, TaskState.scheduled if why == b"rate" else TaskState.held))
            for why, flat in aside
        ],
    )


_ALWAYS = 4
"""Fields of an entry that are written of every run, and of nearly every one there are no others."""
_SELDOM: dict[bytes, tuple[str, Callable[[Any], object]]] = {
    b"priority": ("priority", priority_of),
    b"version": ("version", int),
    b"ready": ("ready", float),
    b"failures": ("failures", int),
    b"losses": ("losses", int),
    b"unique": ("unique", bytes.decode),
    b"delivery": ("delivery", int),
    b"cancelled": ("cancelled", bool),
}


def _claimed(now: float, code: bytes, entry: bytes, flat: Flat) -> Claimed:
    fields = _pairs(flat)
    queued = float(fields[b"queued"])
    claimed = Claimed(
        code=code.decode(),
        entry=entry.decode(),
        id=fields[b"id"].decode(),
        task=fields[b"task"].decode(),
        message=fields[b"message"],
        queued=queued,
        ready=queued,
    )
    if len(fields) > _ALWAYS:
        for written in fields.keys() & _SELDOM.keys():
            name, read = _SELDOM[written]
            setattr(claimed, name, read(fields[written]))
    if now > claimed.ready:
        claimed.waited = (now - claimed.ready) / 1000
    return claimed


def read_rescued(answer: Sequence[Any]) -> list[Rescued]:
    """The answer of `rescue`."""
    state = {Fate.returned: TaskState.queued, Fate.dead: TaskState.dead, Fate.aborted: TaskState.aborted}
    found = []
    for fate, owner, why, flat in answer[1:]:
        what = Fate(fate.decode())
        record = _record(_pairs(flat), state[what])
        found.append(Rescued(what, owner.decode(), record, stranded=why == b"stranded"))
    return found


def read_schedules(kept: Flat) -> dict[str, float]:
    """The last tick of each schedule, by its task."""
    return {task.decode(): float(line.split()[1]) for task, line in _pairs(kept).items()}


def read_tidied(answer: Sequence[Any]) -> Tidied:
    """The answer of `tidy`."""
    return Tidied(answer[0], [read_fields(flat, TaskState.dead) for flat in answer[1:]])


def read_fields(flat: Flat, state: TaskState) -> RunRecord:
    """A run from the flat fields of a script's answer."""
    return _record(_pairs(flat), state)


def read_shown(run_id: str, answer: Sequence[Any]) -> RunRecord | None:
    """The answer of `show`; None when nothing is kept."""
    kept, entry, lease_until, owner = answer
    return _shown([b"id", run_id.encode(), *kept], entry, lease_until, owner) if kept else None


def _shown(kept: Flat, entry: Flat, lease_until: float, owner: bytes) -> RunRecord:
    record = _pairs(kept)
    at = record.get(b"at", b"").decode()
    leased = lease_until >= 0
    if at in STREAM_CODES:
        state = TaskState.running if leased else TaskState.queued
    else:
        state = TaskState(at)
    run = _record(record | _pairs(entry), state)
    run.owner = owner.decode()
    run.lease_until = lease_until if leased else None
    return run


def _record(fields: dict[bytes, bytes], state: TaskState) -> RunRecord:
    return RunRecord(
        id=fields[b"id"].decode(),
        task=fields.get(b"task", b"").decode(),
        state=state,
        priority=priority_of(fields.get(b"priority", b"m")),
        version=int(fields.get(b"version", b"1")),
        message=fields.get(b"message", b""),
        queued=float(fields.get(b"queued", 0)),
        ready=float(fields.get(b"ready", fields.get(b"queued", 0))),
        failures=int(fields.get(b"failures", 0)),
        losses=int(fields.get(b"losses", 0)),
        deliveries=int(fields[b"deliveries"]) if b"deliveries" in fields else None,
        unique=fields.get(b"unique", b"").decode(),
        group=fields.get(b"group", b"").decode(),
        delivery=int(fields.get(b"delivery", 1)),
        reason=fields.get(b"reason", b"").decode(),
        outcome=fields.get(b"outcome", b""),
        owners=tuple(fields.get(b"owners", b"").decode().split()),
        progress=fields.get(b"progress", b""),
        replayed_as=fields.get(b"replayed_as", b"").decode(),
    )


def read_snapshot(answer: Sequence[Any]) -> Snapshot:
    """The answer of `snapshot`, and what the books do not explain."""
    now, paused, paused_tasks, totals = answer[:4]
    streams, others = answer[4 : 4 + 3 * len(STREAM_CODES)], answer[4 + 3 * len(STREAM_CODES) :]
    by_priority: dict[TaskPriority, Depths] = {}
    oldest: dict[TaskPriority, float] = {}
    for n, (letter, priority) in enumerate(LETTERS.items()):
        lanes = [STREAM_CODES.index(lane + letter) * 3 for lane in LANES]
        scheduled, held, dead, overdue = others[n * 4 : n * 4 + 4]
        by_priority[priority] = Depths(
            ready=sum(streams[at] for at in lanes),
            running=sum(streams[at + 1] for at in lanes),
            scheduled=scheduled,
            held=held,
            dead=dead,
        )
        since = [streams[at + 2] for at in lanes if streams[at + 2] >= 0] + (
            [overdue] if overdue >= 0 else []
        )
        oldest[priority] = max(0.0, (now - min(since)) / 1000) if since else 0.0
    total = {name: sum(getattr(depths, name) for depths in by_priority.values()) for name in Depths.__slots__}
    books = {name.decode(): int(count) for name, count in _pairs(totals).items()}
    known = {name: books.get(name, 0) for name in ("accepted", "success", "failure", "aborted", "replayed")}
    explained = known["success"] + known["failure"] + known["aborted"] + sum(total.values())
    return Snapshot(
        now=now,
        by_priority=by_priority,
        oldest_ready_age=oldest,
        paused=bool(paused),
        paused_tasks=tuple(sorted(task.decode() for task in paused_tasks)),
        books=Books(**known, unaccounted=known["accepted"] - explained),
        **total,
    )


class _About(msgspec.Struct):
    slots: int
    busy: int
    version: str
    tasks: list[str]
    models: dict[str, str] = {}


_about_decoder = msgspec.json.Decoder(_About)


def write_about(about: ConsumerInfo) -> bytes:
    """What a consumer says of itself with every renewal."""
    return msgspec.json.encode(
        _About(about.slots, about.busy, about.version, list(about.tasks), dict(about.models))
    )


def read_consumers(now: Flat, seen: Flat, about: Flat) -> list[ConsumerInfo]:
    """Every consumer that shows signs of life, and what it said of itself."""
    instant = int(now[0]) * 1000 + int(now[1]) / 1000
    said_by = _pairs(about)
    found = []
    for name, last in _pairs(seen).items():
        said = _about_decoder.decode(said_by[name]) if name in said_by else _About(0, 0, "", [])
        found.append(
            ConsumerInfo(
                name=name.decode(),
                slots=said.slots,
                busy=said.busy,
                version=said.version,
                tasks=tuple(said.tasks),
                seen=max(0.0, (instant - float(last)) / 1000),
                models=said.models,
            )
        )
    return found


def replays_word(runs: Sequence[Submission]) -> bytes:
    """Which of these runs are replays, as an argument of `enqueue`."""
    if not any(run.replays for run in runs):
        return b""
    return msgspec.json.encode([(run.replays and (run.replays, run.once)) or False for run in runs])


def submission_words(run: Submission) -> tuple[bytes | str | int, ...]:
    """A run, as the arguments of `enqueue`."""
    if run.at is not None:
        due = str(int(run.at))
    else:
        due = f"+{milliseconds(run.delay)}" if run.delay > 0 else ""
    return (
        run.id,
        run.task,
        priority_letter(run.priority),
        run.version,
        run.deliveries or "",
        run.unique,
        run.group,
        due,
        run.message,
    )


def fired_words(run: Submission | None) -> tuple[bytes | str | int, ...]:
    """The run of a tick, if it has one, as the arguments of `fire`."""
    if run is None:
        return ("",) * 7
    return (
        run.id,
        priority_letter(run.priority),
        run.version,
        run.deliveries or "",
        run.unique,
        run.group,
        run.message,
    )


def read_fired(answer: Sequence[Any]) -> Fired:
    """The answer of `fire`."""
    now, what, last, owner = answer
    refusal = Refusal("unique", owner.decode()) if owner else None
    return Fired(now, Tick(what.decode()), float(last), refusal)


def read_replayed(word: bytes | Sequence[bytes]) -> str | Refusal:
    """What `replay` answers for one run."""
    return word.decode() if isinstance(word, bytes) else Refusal("unique", word[0].decode())


def read_listed(answer: Sequence[Any]) -> tuple[bytes, list[tuple[bytes, RunRecord]]]:
    """The answer of `list`: up to where it has looked, and each run with where it is in its list."""
    upto, *found = answer
    return upto, [(at, _shown(kept, entry, until, owner)) for at, kept, entry, until, owner in found]


def read_verdict(run_id: str, word: int | bytes) -> Refusal | None:
    """What `enqueue` answers for one run; None when it was accepted."""
    if isinstance(word, bytes):
        return Refusal("unique", word.decode())
    return Refusal("already_queued", run_id) if word == 0 else None


def settlement_words(outcome: Settlement) -> tuple[bytes | str | int, ...]:
    """An outcome, as the arguments of `settle`."""
    return (
        outcome.code,
        outcome.entry,
        outcome.id,
        outcome.kind,
        f"{outcome.reason} {outcome.model}" if outcome.model else outcome.reason,
        milliseconds(outcome.delay) if outcome.delay else 0,
        max(1, milliseconds(outcome.ttl)),
        outcome.unique,
        outcome.outcome,
    )
