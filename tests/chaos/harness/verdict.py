"""The rules, each judged by all the books together: what was found, and the lines that show it."""

from __future__ import annotations

from bisect import bisect
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf

from fluid.scheduler import TaskState
from tests.chaos.harness.evidence import Attempt, Evidence, Record
from tests.chaos.harness.tasks import MOST_FAILURES, PLACES, TOXIC_DELIVERIES

CLOSED = {TaskState.success, TaskState.failure, TaskState.aborted, TaskState.dead}


@dataclass(frozen=True)
class Finding:
    """A rule, what was found, and every line that speaks against it."""

    rule: str
    found: str
    against: Sequence[str]

    @property
    def good(self) -> bool:
        return not self.against


def nothing_is_lost(e: Evidence) -> Finding:
    against = [
        f"{run_id}: accepted, and the broker knows it as {record.state if record else 'nothing'}"
        for run_id in sorted(e.accepted | e.ticks)
        if not (
            ((record := e.records.get(run_id)) and record.state in CLOSED)
            or (not record and run_id in e.taken_back)
        )
    ]
    if len(e.accepted) < e.asked.runs:
        against.append(f"{len(e.accepted)} runs were accepted, {e.asked.runs} were to be")
    gone = e.taken_back - e.records.keys()
    found = f"{len(e.accepted | e.ticks)} accepted" + (f", {len(gone)} taken back" if e.rewinds else "")
    return Finding("Every accepted run has ended, or is dead", found, against)


def nothing_is_made_up(e: Evidence) -> Finding:
    sent = e.ids(e.producers, "queue") | e.ticks
    refused = e.ids(e.producers, "refused") - e.accepted
    against = [f"{run_id}: ran, and nobody has queued it" for run_id in sorted(set(e.attempts) - sent)]
    against += [f"{run_id}: refused, and yet in the queue" for run_id in sorted(refused & set(e.records))]
    return Finding("Nothing runs that was not queued, or was refused", f"{len(refused)} refused", against)


def the_books_are_right(e: Evidence) -> Finding:
    books, states = e.snapshot.books, Counter(record.state for record in e.records.values())
    told = {
        "accepted": (books.accepted, len(e.records)),
        "success": (books.success, states[TaskState.success]),
        "failure": (books.failure, states[TaskState.failure]),
        "aborted": (books.aborted, states[TaskState.aborted]),
        "dead": (e.snapshot.dead, states[TaskState.dead]),
        "unaccounted": (books.unaccounted, 0),
    }
    against = [
        f"{what}: the broker says {is_}, the runs {should}"
        for what, (is_, should) in told.items()
        if is_ != should
    ]
    found = ", ".join(f"{what} {is_}" for what, (is_, _) in told.items())
    return Finding("The broker's books are those of its runs", found, against)


def a_success_was_worked_for(e: Evidence) -> Finding:
    successes = e.in_state(TaskState.success)
    against = [
        f"{record}: that attempt is not among {_shown(e.attempts.get(record.id, []))}"
        for record in successes
        if e.settled(record) is None
    ]
    return Finding("A success is that of an attempt that was done", f"{len(successes)} successes", against)


def every_double_is_counted(e: Evidence) -> Finding:
    interrupted = Counter((entry.run_id, entry.attempt) for entry in e.events if entry.what == "interrupted")
    stops = {life.pid: life.told_to_stop for life in e.lives if life.told_to_stop is not None}

    def handed_back(before: Attempt, after: Attempt) -> bool:
        return stops.get(before.begin.pid, inf) < after.begin.elapsed

    doubled = {run_id: attempts for run_id, attempts in e.attempts.items() if len(attempts) > 1}
    against = []
    for run_id, attempts in e.attempts.items():
        record = e.records.get(run_id)
        unexplained = Counter(
            after.number
            for before, after in pairwise(sorted(attempts, key=lambda one: (one.number, one.begin.elapsed)))
            if before.number == after.number and not handed_back(before, after)
        )
        if run_id in e.went_back:
            continue
        if (record and attempts[-1].number > record.attempt) or any(
            count > interrupted[run_id, number] for number, count in unexplained.items()
        ):
            against.append(f"{record}, but {_shown(attempts)}")
    return Finding(
        "A run that began more than once was counted as lost, failed or handed back",
        f"{len(doubled)} began more than once"
        + (f", {len(doubled.keys() & e.went_back)} of them set back" if e.rewinds else ""),
        against,
    )


def an_end_is_told_once(e: Evidence) -> Finding:
    told = Counter(entry.run_id for entry in e.events if entry.what == "lost")
    ended = Counter(entry.run_id for entry in e.events if entry.what == "end")
    against = [
        f"{run_id}: {count} times announced as lost, {e.records[run_id]}"
        for run_id, count in told.items()
        if run_id in e.records.keys() - e.went_back and count > e.records[run_id].attempt - 1
    ]
    against += [
        f"{run_id}: announced {count} times as ended"
        for run_id, count in ended.items()
        if count > 1 and run_id not in e.went_back
    ]
    found = f"{sum(told.values())} losses and {len(ended)} ends announced"
    return Finding("A loss and an end are announced once at most", found, against)


def every_tick_fired_once(e: Evidence) -> Finding:
    ran = {run_id for run_id in e.attempts if run_id.startswith("tick@")}
    against = [f"{run_id}: never ran" for run_id in sorted(e.ticks - ran)]
    against += [f"{run_id}: ran, and is no tick" for run_id in sorted(ran - e.ticks)]
    # set back by more ticks than are caught up with, a schedule calls those missed that ran before
    missed = [entry for entry in e.events if entry.what == "schedule_missed" and not e.rewinds]
    against += [f"{entry.attempt} ticks of {entry.task} were announced as missed" for entry in missed]
    return Finding("Every tick of the schedule fired once", f"{len(e.ticks)} ticks", against)


def limits_hold(e: Evidence) -> Finding:
    against, peaks = [], {}
    for subject, attempts in sorted(e.settled_by_subject(*PLACES).items()):
        places = PLACES[subject.partition("/")[0]]
        running: list[Attempt] = []
        peak = 0
        for attempt in sorted(attempts, key=lambda one: one.begin.elapsed):
            running = [one for one in running if one.done and one.done.elapsed > attempt.begin.elapsed]
            running.append(attempt)
            peak = max(peak, len(running))
            if len(running) > places:
                against.append(f"{subject}: {len(running)} at once, {_shown(running)}")
        peaks[subject] = f"{subject} {peak}/{places}"
    return Finding("No limit is exceeded by attempts whose leases held", ", ".join(peaks.values()), against)


def unique_runs_are_alone(e: Evidence) -> Finding:
    against, count = [], 0
    for subject, attempts in sorted(e.settled_by_subject("unique").items()):
        firsts = {attempt.begin.run_id: e.attempts[attempt.begin.run_id][0] for attempt in attempts}
        ends = {attempt.begin.run_id: attempt for attempt in attempts}
        in_order = sorted(firsts, key=lambda run_id: firsts[run_id].begin.elapsed)
        count += len(in_order)
        for before, after in pairwise(in_order):
            done = ends[before].done
            if done and firsts[after].begin.elapsed < done.elapsed:
                against.append(f"{subject}: {after} began before {before} was done")
    return Finding("Runs with one unique key are open one at a time", f"{count} runs", against)


def none_is_early(e: Evidence) -> Finding:
    delayed = [record for record in e.records.values() if record.task == "delayed"]
    against = [
        f"{entry.run_id}: attempt {entry.attempt} began too early"
        for entry in e.bodies
        if entry.what == "early"
    ]
    return Finding("No run begins before its delay is over", f"{len(delayed)} delayed runs", against)


def ends_are_as_meant(e: Evidence) -> Finding:
    cancelled = e.ids(e.producers, "cancel")
    subjects = {entry.run_id: entry.task for entry in e.bodies}

    def meant(record: Record) -> set[TaskState]:
        if record.task == "toxic":
            return {TaskState.dead}
        if subjects.get(record.id) == f"flaky/{MOST_FAILURES}":
            return {TaskState.failure}
        return {TaskState.success, TaskState.aborted} if record.id in cancelled else {TaskState.success}

    against = [
        f"{record}: was to end {' or '.join(sorted(meant(record)))}"
        for record in e.records.values()
        if record.state not in meant(record)
    ]
    states = Counter(str(record.state) for record in e.records.values())
    return Finding("Runs end as their tasks mean them to", _counts(states), against)


def poison_is_capped(e: Evidence) -> Finding:
    toxic = {record.id for record in e.records.values() if record.task == "toxic"} - e.went_back
    begun = Counter({run_id: len(e.attempts.get(run_id, ())) for run_id in toxic})
    against = [
        f"{run_id}: began {count} times" for run_id, count in begun.items() if count > TOXIC_DELIVERIES
    ]
    against += [
        f"{record.id}: dead without a loss to show for each delivery: {record}"
        for record in e.in_state(TaskState.dead)
        if record.id in toxic and len(record.lost_by) != TOXIC_DELIVERIES
    ]
    return Finding(
        f"A toxic run takes {TOXIC_DELIVERIES} processes with it at most",
        f"{len(toxic)} toxic runs took {sum(begun.values())} processes",
        against,
    )


def nothing_is_left(e: Evidence) -> Finding:
    left = {
        "ready": e.snapshot.ready,
        "running": e.snapshot.running,
        "scheduled": e.snapshot.scheduled,
        "held": e.snapshot.held,
    }
    against = [f"{count} runs are still {where}" for where, count in left.items() if count]
    against += [f"{key} never expires" for key in e.leaks]
    return Finding("The queue comes to rest, and no key stays for ever", _counts(Counter(left)), against)


def a_rewind_is_announced(e: Evidence) -> Finding:
    told = [entry for entry in e.events if entry.what == "broker_rewound"]
    instants = [rewind.at for rewind in e.rewinds]
    announced = Counter((bisect(instants, entry.elapsed), entry.pid) for entry in told)
    times = {number for number, _ in announced}
    against = [
        f"at {rewind.at:.3f} the broker denied, unannounced, what it had told of {', '.join(sorted(runs))}"
        for number, (rewind, runs) in enumerate(zip(e.rewinds, e.denied, strict=True), 1)
        if runs and number not in times
    ]
    against += [
        f"{pid} announced {count} times what was forgotten at {instants[number - 1]:.3f}"
        for (number, pid), count in announced.items()
        if number and count > 1
    ]
    against += [f"{pid} announced what was not so" for number, pid in announced if not number]
    found = f"{len(e.rewinds)} times, announced by {len(announced)} processes"
    return Finding("A broker that forgot what it had accepted is announced, and once", found, against)


def processes_stop(e: Evidence) -> Finding:
    toxic = {entry.pid for entry in e.bodies if entry.task == "toxic"}
    stops = [life.stopped_in for life in e.lives if life.stopped_in is not None and not life.killed]
    against = []
    for life in e.lives:
        if life.hung:
            against.append(f"{life.actor} ({life.pid}) hung when asked to stop:\n{life.last_words}")
        elif life.returncode == -9:
            if not life.killed and life.pid not in toxic:
                against.append(f"{life.actor} ({life.pid}) was killed by nobody known")
        elif life.returncode != 0 and not (life.returncode == -15 and life.told_to_stop is not None):
            against.append(f"{life.actor} ({life.pid}) ended with {life.returncode}:\n{life.last_words}")
        elif life.told_to_stop is None:
            against.append(f"{life.actor} ({life.pid}) ended unasked:\n{life.last_words}")
    found = f"{len(e.lives)} lives, {len(stops)} stops, the longest {max(stops, default=0.0):.1f} s"
    return Finding("A process ends when it is asked to, and only then", found, against)


RULES: tuple[Callable[[Evidence], Finding], ...] = (
    nothing_is_lost,
    nothing_is_made_up,
    the_books_are_right,
    a_success_was_worked_for,
    every_double_is_counted,
    an_end_is_told_once,
    every_tick_fired_once,
    limits_hold,
    unique_runs_are_alone,
    none_is_early,
    ends_are_as_meant,
    poison_is_capped,
    nothing_is_left,
    a_rewind_is_announced,
    processes_stop,
)


def judge(evidence: Evidence) -> list[Finding]:
    """What each rule finds, in the order of `RULES`."""
    return [rule(evidence) for rule in RULES]


# -- reading -------------------------------------------------------------------------------


def _shown(attempts: Iterable[Attempt]) -> str:
    return "; ".join(
        f"attempt {one.number} of {one.begin.run_id} in {one.begin.pid}: begin {one.begin.elapsed:.3f}"
        + "".join(f", {what} {entry.elapsed:.3f}" for what, entry in one.said.items())
        for one in attempts
    )


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{what} {count}" for what, count in sorted(counter.items()))
