"""The plan can be repeated, and every rule of the verdict notices what breaks it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from fluid.scheduler import Books, Snapshot, TaskState
from tests.chaos.harness import verdict
from tests.chaos.harness.actors import Life
from tests.chaos.harness.evidence import Evidence, Plan, Record
from tests.chaos.harness.plan import REWINDS, Fault, Step, draw
from tests.chaos.harness.report import page
from tests.chaos.harness.rewinds import Rewind
from tests.chaos.harness.world import Cast
from tests.support.ledger import Entry

ACTORS = Cast().actors


def entry(run_id: str, what: str, at: float, *, task: str = "plain", attempt: int = 1, pid: int = 7) -> Entry:
    return Entry(run_id, task, what, attempt, pid, at, at)


def books(**changed: int) -> Books:
    return Books(
        **(
            {"accepted": 2, "success": 2, "failure": 0, "aborted": 0, "replayed": 0, "unaccounted": 0}
            | changed
        )
    )


def snapshot(**changed: Any) -> Snapshot:
    at_rest: dict[str, Any] = {"now": 0.0, "ready": 0, "running": 0, "scheduled": 0, "held": 0, "dead": 0}
    rest: dict[str, Any] = {"by_priority": {}, "oldest_ready_age": {}, "paused": False, "books": books()}
    return Snapshot(**(at_rest | rest | changed))


def success(run_id: str, task: str = "plain") -> Record:
    return Record(run_id, task, TaskState.success, 1, "", (), 1)


GOOD = Evidence(
    asked=Plan(seed=1, runs=1, seconds=1.0, lease=1.0),
    broker="made up",
    seconds=1.0,
    faults=Counter({Fault.KILL: 1}),
    lives=[Life("consumer-1", 7, told_to_stop=9.0, returncode=0, stopped_in=0.5)],
    bodies=[
        entry("a", "begin", 1.0),
        entry("a", "done", 2.0),
        entry("tick@1000", "begin", 2.0, task="tick"),
        entry("tick@1000", "done", 2.1, task="tick"),
    ],
    producers=[
        entry("a", "queue", 0.5),
        entry("a", "accepted", 0.6),
        entry("b", "queue", 0.7),
        entry("b", "refused", 0.8),
    ],
    events=[entry("a", "end", 2.1)],
    records={
        "a": success("a"),
        "tick@1000": success("tick@1000", "tick"),
    },
    snapshot=snapshot(),
    first_tick=700.0,
    last_tick=1000.0,
    leaks=[],
)  # fmt: skip


def with_run(task: str, *bodies: Entry, state: TaskState = TaskState.success, attempt: int = 1) -> Evidence:
    """The good evidence, and a run `c` of a task besides."""
    return replace(
        GOOD,
        bodies=[*GOOD.bodies, *bodies],
        producers=[*GOOD.producers, entry("c", "queue", 0.9), entry("c", "accepted", 0.9)],
        records={**GOOD.records, "c": Record("c", task.partition("/")[0], state, attempt, "", (), attempt)},
    )


def crowd(task: str, count: int) -> Evidence:
    """The good evidence, and runs of a task that are all there at once."""
    ids = [f"c{number}" for number in range(count)]
    return replace(
        GOOD,
        bodies=[
            *GOOD.bodies,
            *(entry(run_id, "begin", 3.0 + number / 100, task=task) for number, run_id in enumerate(ids)),
            *(entry(run_id, "done", 4.0 + number / 100, task=task) for number, run_id in enumerate(ids)),
        ],
        records={**GOOD.records, **{run_id: success(run_id, task.partition("/")[0]) for run_id in ids}},
    )


TWICE = with_run(
    "plain", entry("c", "begin", 3.0), entry("c", "begin", 4.0, pid=8), entry("c", "done", 5.0, pid=8)
)

FORGOT = Rewind(at=2.5, accepted=1, taken_back=frozenset({"a"}), set_back=frozenset({"c"}))

SET_BACK = replace(FORGOT, taken_back=frozenset(), set_back=frozenset({"a"}))
"""The end of `a`, of which somebody was told."""

GIVEN_BACK = replace(SET_BACK, at=4.0, given_back=SET_BACK.set_back)

MISSED = replace(GOOD, events=[*GOOD.events, entry("", "schedule_missed", 3.0, task="tick", attempt=36)])
SAID = entry("", "broker_rewound", 3.0)
SAID_BY_ANOTHER = entry("", "broker_rewound", 3.0, pid=8)


def back_twice(answered: Entry) -> Evidence:
    """The end of `a` was told to process 7, the broker went back twice, and answered something in between."""
    return replace(
        GOOD,
        rewinds=[SET_BACK, replace(SET_BACK, at=4.0)],
        events=[*GOOD.events, answered, entry("", "broker_rewound", 5.0)],
    )


BROKEN: list[tuple[Callable[[Evidence], verdict.Finding], Evidence]] = [
    (verdict.nothing_is_lost, replace(GOOD, records={})),
    (verdict.nothing_is_lost, replace(GOOD, asked=replace(GOOD.asked, runs=2))),
    (verdict.nothing_is_lost, with_run("plain", state=TaskState.queued)),
    (verdict.nothing_is_made_up, replace(GOOD, producers=[])),
    (verdict.nothing_is_made_up, replace(GOOD, records={"b": success("b")})),
    (verdict.the_books_are_right, replace(GOOD, snapshot=snapshot(books=books(success=1)))),
    (verdict.the_books_are_right, replace(GOOD, snapshot=snapshot(books=books(unaccounted=1)))),
    (verdict.a_success_was_worked_for, with_run("plain")),
    (verdict.a_success_was_worked_for, with_run("plain", entry("c", "begin", 3.0))),
    (verdict.every_double_is_counted, TWICE),
    (verdict.every_double_is_counted, with_run("plain", entry("c", "begin", 3.0, attempt=2))),
    (verdict.an_end_is_told_once, replace(GOOD, events=[*GOOD.events, *GOOD.events])),
    (verdict.an_end_is_told_once, replace(GOOD, events=[entry("a", "lost", 1.0)])),
    (verdict.every_tick_fired_once, replace(GOOD, last_tick=1500.0)),
    (verdict.every_tick_fired_once, MISSED),
    (verdict.every_tick_fired_once, replace(MISSED, rewinds=[FORGOT], last_tick=1500.0)),
    (verdict.every_tick_fired_once, replace(GOOD, first_tick=1000.0)),
    (verdict.limits_hold, crowd("limited", 4)),
    (verdict.limits_hold, crowd("keyed/k1", 3)),
    (verdict.unique_runs_are_alone, crowd("unique/k1", 2)),
    (verdict.none_is_early, with_run("delayed", entry("c", "early", 3.0))),
    (verdict.ends_are_as_meant, with_run("plain", state=TaskState.aborted)),
    (verdict.ends_are_as_meant, with_run("plain", state=TaskState.dead)),
    (verdict.ends_are_as_meant, with_run("flaky/3", entry("c", "begin", 3.0, task="flaky/3"))),
    (verdict.poison_is_capped, with_run("toxic", state=TaskState.dead)),
    (verdict.poison_is_capped, with_run("toxic", *(entry("c", "begin", at) for at in (3.0, 4.0, 5.0, 6.0)))),
    (verdict.nothing_is_left, replace(GOOD, snapshot=snapshot(held=1))),
    (verdict.nothing_is_left, replace(GOOD, leaks=["a key"])),
    (verdict.a_rewind_is_announced, replace(GOOD, rewinds=[FORGOT])),
    (
        verdict.a_rewind_is_announced,
        replace(
            GOOD,
            rewinds=[FORGOT, replace(FORGOT, at=4.0)],
            producers=[*GOOD.producers, entry("a", "accepted", 3.5)],
            events=[SAID],
        ),
    ),
    (verdict.a_rewind_is_announced, replace(GOOD, rewinds=[SET_BACK])),
    (verdict.a_rewind_is_announced, replace(GOOD, rewinds=[SET_BACK, replace(SET_BACK, at=4.0)])),
    (
        verdict.a_rewind_is_announced,
        replace(GOOD, rewinds=[SET_BACK, GIVEN_BACK], events=[*GOOD.events, entry("a", "stale", 3.0)]),
    ),
    (verdict.a_rewind_is_announced, back_twice(entry("tick@1000", "end", 3.0))),
    (verdict.a_rewind_is_announced, back_twice(entry("tick@1000", "retry", 3.0))),
    (verdict.a_rewind_is_announced, replace(GOOD, rewinds=[FORGOT], events=[SAID, SAID])),
    (verdict.a_rewind_is_announced, replace(GOOD, events=[SAID])),
    (verdict.nothing_is_lost, replace(GOOD, rewinds=[FORGOT], records={})),
    (verdict.processes_stop, replace(GOOD, lives=[Life("consumer-1", 7, told_to_stop=9.0, hung=True)])),
    (verdict.processes_stop, replace(GOOD, lives=[Life("consumer-1", 7, returncode=0)])),
    (verdict.processes_stop, replace(GOOD, lives=[Life("consumer-1", 7, returncode=1)])),
    (verdict.processes_stop, replace(GOOD, lives=[Life("consumer-1", 7, returncode=-9)])),
]  # fmt: skip

ALLOWED: list[tuple[Callable[[Evidence], verdict.Finding], Evidence]] = [
    (verdict.every_double_is_counted, replace(TWICE, events=[entry("c", "interrupted", 3.5)])),
    (verdict.every_double_is_counted, replace(TWICE, lives=[Life("x", 7, told_to_stop=3.5)])),
    (verdict.every_double_is_counted, replace(TWICE, rewinds=[FORGOT])),
    (verdict.nothing_is_lost, replace(GOOD, rewinds=[FORGOT], records={"tick@1000": success("tick@1000")})),
    (verdict.a_rewind_is_announced, replace(GOOD, rewinds=[FORGOT], events=[SAID, SAID_BY_ANOTHER])),
    (verdict.a_rewind_is_announced, replace(GOOD, rewinds=[FORGOT, replace(FORGOT, at=4.0)], events=[SAID])),
    (verdict.a_rewind_is_announced, replace(GOOD, rewinds=[replace(FORGOT, taken_back=frozenset())])),
    (verdict.a_rewind_is_announced, replace(GOOD, rewinds=[SET_BACK, GIVEN_BACK])),
    (
        verdict.a_rewind_is_announced,
        replace(
            GOOD,
            rewinds=[SET_BACK, replace(SET_BACK, at=4.0)],
            events=[*GOOD.events, entry("", "broker_rewound", 5.0)],
        ),
    ),
    (verdict.a_rewind_is_announced, back_twice(entry("tick@1000", "end", 3.0, pid=8))),
    (verdict.a_rewind_is_announced, back_twice(entry("", "schedule_fired", 3.0))),
    (verdict.a_rewind_is_announced, back_twice(entry("tick@1000", "accepted", 3.0))),
    (verdict.every_tick_fired_once, replace(MISSED, rewinds=[FORGOT])),
    (verdict.limits_hold, crowd("limited", 3)),
    (verdict.unique_runs_are_alone, crowd("unique/k1", 1)),
    (verdict.processes_stop, replace(GOOD, lives=[Life("consumer-1", 7, killed=True, returncode=-9)])),
]  # fmt: skip


def test_the_same_seed_draws_the_same_plan() -> None:
    assert draw(3, 60.0, 1.5, ACTORS) == draw(3, 60.0, 1.5, ACTORS)
    assert draw(3, 60.0, 1.5, ACTORS) != draw(4, 60.0, 1.5, ACTORS)


def test_a_plan_has_every_fault_and_ends_in_time() -> None:
    plan: list[Step] = draw(3, 60.0, 1.5, ACTORS)
    assert {step.fault for step in plan} == set(Fault) - REWINDS
    assert {step.fault for step in draw(3, 60.0, 1.5, ACTORS, rewinds=True)} == set(Fault)
    assert all(0 < step.seconds < 60.0 for step in plan)


def test_good_evidence_breaks_no_rule() -> None:
    findings = verdict.judge(GOOD)
    assert [finding for finding in findings if not finding.good] == []
    assert "Every rule holds." in page([(GOOD, findings)])


@pytest.mark.parametrize(("rule", "evidence"), BROKEN)
def test_what_breaks_a_rule_is_noticed(
    rule: Callable[[Evidence], verdict.Finding], evidence: Evidence
) -> None:
    finding = rule(evidence)
    assert not finding.good
    assert f"### Broken: {finding.rule}" in page([(evidence, [finding])])


@pytest.mark.parametrize(("rule", "evidence"), ALLOWED)
def test_what_is_explained_breaks_no_rule(
    rule: Callable[[Evidence], verdict.Finding], evidence: Evidence
) -> None:
    assert rule(evidence).good


def test_every_rule_is_tried() -> None:
    assert {rule for rule, _ in BROKEN} == set(verdict.RULES)
