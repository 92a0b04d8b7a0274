"""Events as lines: which are written, at which level, in which words."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec
from opentelemetry import trace

from fluid.clock import now
from fluid.masking import hide, mask_text
from fluid.scheduler import Event, TaskManager, TaskRun
from fluid.tracebacks import traceback_of
from telemetry.current import CurrentRun, CurrentRuns, ids_of, name_of
from telemetry.logs import RUNS_LOGGER, level_name, output_of_logs
from telemetry.rendering import HEAD, RunLine, cut, rendered_once
from telemetry.trace_context import read

HANDLER = "logs"
"""The name that our handlers are registered with."""


class Telling(NamedTuple):
    """How an event is told."""

    level: int
    level_name: str
    words: str


class Known(NamedTuple):
    """What is known beforehand of a line of a task, rendered once."""

    level: msgspec.Raw
    """The level, and what comes after it."""
    consumer: msgspec.Raw
    """The consumer, and what comes after it."""


def _at(level: int, words: str) -> Telling:
    return Telling(level, level_name(level), words)


LEVELS: Mapping[str, Telling] = {
    "refused": _at(logging.WARNING, "run could not be queued"),
    "start": _at(logging.INFO, "attempt started"),
    "success": _at(logging.INFO, "run succeeded"),
    "failure": _at(logging.ERROR, "run failed"),
    "aborted": _at(logging.WARNING, "run aborted"),
    "retry": _at(logging.WARNING, "attempt failed, another follows"),
    "interrupted": _at(logging.INFO, "attempt handed back"),
    "held": _at(logging.INFO, "run held"),
    "lost": _at(logging.WARNING, "attempt lost with its consumer"),
    "stale": _at(logging.WARNING, "outcome refused, the lease had gone"),
    "dead": _at(logging.ERROR, "run dead, a person must decide"),
    "consumer_started": _at(logging.INFO, "consumer started"),
    "consumer_stopping": _at(logging.INFO, "consumer stopping"),
    "consumer_stopped": _at(logging.INFO, "consumer stopped"),
    "loop_blocked": _at(logging.WARNING, "event loop was blocked"),
    "handler_dropped": _at(logging.WARNING, "events were dropped before a handler saw them"),
    "queue_paused": _at(logging.WARNING, "queue paused"),
    "queue_resumed": _at(logging.INFO, "queue resumed"),
    "task_paused": _at(logging.WARNING, "task paused"),
    "task_resumed": _at(logging.INFO, "task resumed"),
}
"""The events that are told, each in one line."""

SAID_BY_THE_CORE = frozenset(
    {
        "broker_lost",
        "broker_recovered",
        "broker_unsafe",
        "broker_safe",
        "broker_rewound",
        "handler_failed",
        "schedule_missed",
    }
)
"""Events that the core logs itself, telemetry or not."""

NOT_TOLD = frozenset({"queue", "queued", "scheduled", "end", "schedule_fired"})
"""Events of which another line tells, or that say no more than that all is well."""

VERDICTS = frozenset({"success", "failure", "aborted"})
"""Events that are told when `end` is, whose run is in the state of that name: one handler less to call."""

ENDS = VERDICTS | {"retry", "interrupted", "held", "stale", "dead"}
"""The events that end an attempt."""

_WITH_ERROR = frozenset({"failure", "aborted", "retry", "dead"})
_WITH_TRACEBACK = frozenset({"failure", "retry"})
_START = LEVELS["start"]
_SUCCESS = LEVELS["success"]


class Narrator:
    """Writes the lines of one host; one for the start and one for the end of every attempt."""

    def __init__(self, host: TaskManager, runs: CurrentRuns) -> None:
        self._host = host
        self._runs = runs
        self._logger = logging.getLogger(RUNS_LOGGER)
        self._starts: dict[str, Known] = {}
        self._successes: dict[str, Known] = {}
        """By task, what is known beforehand of its lines."""

    def listen(self) -> None:
        """Write from now on."""
        self._runs.begins.append(self._tell_start)
        for event, tell in self._handlers().items():
            self._host.dispatcher.register_handler(f"{event}.{HANDLER}", tell)

    def stop_listening(self) -> None:
        """Write no more."""
        self._runs.begins.remove(self._tell_start)
        for event in self._handlers():
            self._host.dispatcher.unregister_handler(f"{event}.{HANDLER}")

    def _handlers(self) -> Mapping[str, Callable[[Event], None]]:
        # a start is told when the body begins, for then there is a span that the line leads to
        ends = dict.fromkeys(ENDS - VERDICTS | {"end"}, self._tell_end)
        others = dict.fromkeys(LEVELS.keys() - ENDS - {"start"}, self._tell_other)
        return ends | others | {"consumer_started": self._consumer_started}

    def _tell_start(self, current: CurrentRun) -> None:
        if self._logger.isEnabledFor(_START.level):
            if current.waited is not None:
                current.waited = _in_microseconds(current.waited)
            name = current.run.name
            known = self._starts.get(name) or self._known_of(self._starts, "start", name)
            self._post(_START, current, known)

    def _tell_end(self, event: Event) -> None:
        run = event.run
        if run is None:
            return
        current = self._runs.take(run)
        if event.name == "end" and run.state == "success" and current is not None:
            if self._logger.isEnabledFor(_SUCCESS.level):
                known = self._successes.get(run.name) or self._known_of(self._successes, "success", run.name)
                self._post(_SUCCESS, current, known, event.ran, event.latency)
            return
        outcome = str(run.state) if event.name == "end" else event.name
        telling = LEVELS[outcome]
        if not self._logger.isEnabledFor(telling.level):
            return
        span = _where(run) if current is None else current.span
        ids = self._ids(event, run, span) if current is None else current.ids
        line = self._line(telling, outcome, ids)
        line["outcome"] = outcome
        if current is not None and current.waited is not None:
            line["waited"] = _in_microseconds(current.waited)
        if event.ran is not None:
            line["ran"] = _in_microseconds(event.ran)
        if event.latency is not None:
            line["latency"] = _in_microseconds(event.latency)
        if outcome != "success":
            self._add_trouble(line, event, run, current)
        if run.local:
            line["local"] = True
        self._write(telling, line, span)

    def _known_of(self, known: dict[str, Known], outcome: str, task: str) -> Known:
        """What is known beforehand of such a line of a task."""
        telling = LEVELS[outcome]
        what = {"logger": RUNS_LOGGER, "message": telling.words, "event": outcome, "task": task}
        how = {"outcome": outcome} if outcome in ENDS else {}
        known[task] = Known(rendered_once(telling.level_name, what), rendered_once(name_of(self._host), how))
        return known[task]

    def _consumer_started(self, event: Event) -> None:
        self._starts.clear()  # it has another name in every life
        self._successes.clear()
        self._tell_other(event)

    def _tell_other(self, event: Event) -> None:
        telling = LEVELS[event.name]
        if not self._logger.isEnabledFor(telling.level):
            return
        if event.run is None:
            span: trace.Span = trace.INVALID_SPAN
            line = self._line(telling, event.name, {"consumer": name_of(self._host), **_facts(event)})
        else:
            span = _where(event.run)
            line = self._line(telling, event.name, self._ids(event, event.run, span))
        if event.owner:
            line["owner"] = event.owner
        if event.reason:
            line["reason"] = event.reason
        self._write(telling, line, span)

    @staticmethod
    def _line(telling: Telling, event: str, ids: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "timestamp": now(),
            "level": telling.level_name,
            "logger": RUNS_LOGGER,
            "message": telling.words,
            "event": event,
            **ids,
        }

    def _ids(self, event: Event, run: TaskRun[Any], span: trace.Span) -> dict[str, Any]:
        """Of a run that was never executed here, or not by the attempt that is told of."""
        ids = ids_of(run, self._host, span)
        if event.owner:
            ids["attempt"] -= 1  # by now the loss is counted; this is about the attempt that was lost
        return ids

    @staticmethod
    def _add_trouble(
        line: dict[str, Any], event: Event, run: TaskRun[Any], current: CurrentRun | None
    ) -> None:
        if event.owner:
            line["owner"] = event.owner
        if event.reason:
            line["reason"] = event.reason
        if event.delay is not None:
            line["delay"] = _in_microseconds(event.delay)
        if line["outcome"] in _WITH_ERROR and run.error:
            line["error"] = cut(run.error)  # it was masked where it arose
        if line["outcome"] in _WITH_TRACEBACK and current is not None and current.error is not None:
            line["exception"] = _traceback(current.error, current.secrets)

    def _write(self, telling: Telling, line: dict[str, Any], span: trace.Span) -> None:
        """Straight into the pipe: it is done for every run, and a record of stdlib costs as much again."""
        output = output_of_logs()
        if output is not None:
            output.write(telling.level, line, span)
            return
        self._write_by_stdlib(telling, line)

    def _post(
        self,
        telling: Telling,
        current: CurrentRun,
        known: Known,
        ran: float | None = None,
        latency: float | None = None,
    ) -> None:
        """Write a line that every run has."""
        run = current.run
        trace_id, span_id = current.trace_ids
        line = RunLine(
            now(),
            known.level,
            run.id,
            run.attempt,
            known.consumer,
            trace_id,
            span_id,
            current.waited,
            None if ran is None else _in_microseconds(ran),
            None if latency is None else _in_microseconds(latency),
            run.local,
        )
        output = output_of_logs()
        if output is None:
            self._write_by_stdlib(telling, line.as_data())
        elif output.takes_run_lines:
            output.pipe.post(line)
        else:
            output.write(telling.level, line.as_data(), current.span)

    def _write_by_stdlib(self, telling: Telling, line: Mapping[str, Any]) -> None:
        about = line.get("run_id") or line["consumer"]
        fields = {name: value for name, value in line.items() if name not in HEAD}
        self._logger.log(telling.level, "%s: %s", telling.words, about, extra=fields)


def _in_microseconds(seconds: float) -> float:
    """Seconds to six places. `round` is twice as slow, and this is done for every run."""
    return (seconds * 1e6 + 0.5) // 1 / 1e6


def _where(run: TaskRun[Any]) -> trace.Span:
    """What leads to an attempt that was made elsewhere, or to the queueing of a run that had none."""
    return trace.NonRecordingSpan(read(run.headers))


def _facts(event: Event) -> dict[str, Any]:
    """What is told besides, without secrets."""
    return {
        # what a fact calls `event` is the one that it is about
        "of_event" if name == "event" else name: mask_text(value) if isinstance(value, str) else value
        for name, value in event.facts.items()
        if name != "stack"  # a line of its own tells it, while the loop is blocked
    }


def _traceback(error: BaseException, secrets: tuple[str, ...]) -> str:
    return cut(hide(traceback_of(error).rstrip(), secrets))
