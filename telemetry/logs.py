"""Logs: stdlib and structlog through one pipe, with the ids of the run on every line inside one.

`configure()` is all there is to do. It replaces the handlers of the root logger and the configuration of
structlog; who has set up logging himself does not call it, and may have `add_ids` among his processors.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import traceback
from collections.abc import Callable, Collection, Mapping, MutableMapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal, NoReturn, TextIO, cast

import structlog
from opentelemetry import trace

from fluid.clock import now
from fluid.masking import hide, mask
from telemetry.current import CurrentRun, current_run
from telemetry.otlp_logs import OtlpLogs, exported_logs
from telemetry.pipe import LinePipe, writing_to
from telemetry.rendering import Line, all_as_json, as_json, cut, readable, shown
from telemetry.settings import LogSettings
from telemetry.trace_context import SPAN_OF_RECORD, TRACEPARENT, read, trace_ids

RUNS_LOGGER = "fluid.runs"
"""The logger of the lines that tell of events; its level says which of them are written."""

EXIT_SECONDS = 2.0
"""How long an exit waits until lines are written, and as long again until they are exported."""

_OF_EVERY_RECORD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_LEVELS = {"warn": "warning", "exception": "error", "fatal": "critical", "msg": "info"}


class Output:
    """Where every line goes."""

    def __init__(self, render: Callable[[Line], bytes], out: Callable[[bytes], None]) -> None:
        self._render = render
        self.pipe = LinePipe(out, all_as_json)
        self.otlp: OtlpLogs | None = None
        self.takes_run_lines = render is as_json
        """The pipe may be given a `RunLine` as it is: nobody needs that as data."""

    def export(self, otlp: OtlpLogs) -> None:
        """Have every line exported as well."""
        self.otlp = otlp
        self.takes_run_lines = False

    def write(self, level: int, line: Line, span: trace.Span) -> None:
        """Write a line that is complete and holds no secret; `span` is the one it belongs to."""
        try:
            rendered = self._render(line)
        except Exception:  # noqa: BLE001 - JSON takes everything
            rendered = as_json(line)
        self.pipe.write(rendered)
        if self.otlp is not None:
            try:
                self.otlp.emit(level, line, span.get_span_context())
            except Exception as error:
                self.otlp = None
                logging.getLogger("fluid").exception("logs are exported no more: %r", error)

    def compose(
        self,
        level: int,
        logger: str,
        message: str,
        fields: Mapping[str, Any],
        *,
        exception: str = "",
        timestamp: datetime | None = None,
        span: trace.Span | None = None,
    ) -> None:
        """Make a line of what somebody said, in `span` or in the current one, and write it."""
        run, span = current_run(), span or trace.get_current_span()
        secrets = run.secrets if run is not None else ()
        ids = _ids(run, span.get_span_context())
        line: dict[str, Any] = {
            "timestamp": timestamp or now(),
            "level": level_name(level),
            "logger": logger,
            "message": cut(hide(message, secrets)),
        }
        for name, value in _masked(fields).items():
            # a name of ours means the same on every line
            taken = name in line or ids.get(name, value) != value
            line[f"own_{name}" if taken else name] = _without(secrets, value)
        line |= ids
        if exception:
            line["exception"] = cut(hide(exception, secrets))
        self.write(level, line, span)

    def close(self) -> None:
        """Write what waits, within the time that an exit has."""
        self.pipe.close(EXIT_SECONDS)
        if self.otlp is not None:
            self.otlp.close(EXIT_SECONDS)


class StdlibHandler(logging.Handler):
    """Takes the records of stdlib logging."""

    def __init__(self, output: Output) -> None:
        super().__init__()
        self._output = output

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, whatever is in it."""
        fields = {key: value for key, value in vars(record).items() if key not in _OF_EVERY_RECORD}
        try:
            message = record.getMessage()
        except Exception as error:  # noqa: BLE001 - a call that cannot be formatted is told as it is
            message = f"{shown(record.msg)} {shown(record.args)}"
            fields["fault"] = f"this message does not fit its arguments: {type(error).__name__}"
        header = fields.pop(SPAN_OF_RECORD, None)
        if record.stack_info:
            fields["stack"] = record.stack_info
        self._output.compose(
            record.levelno,
            record.name,
            message,
            fields,
            # a record of another process has the text alone
            exception=_exception(record.exc_info) or record.exc_text or "",
            timestamp=datetime.fromtimestamp(record.created, UTC),
            span=trace.NonRecordingSpan(read({TRACEPARENT: header})) if header else None,
        )


@dataclass(frozen=True, slots=True)
class _Named:
    """What a structlog logger wraps here: the name that it was asked for by."""

    name: str = "structlog"


@dataclass
class _State:
    """What `configure` has changed."""

    output: Output | None = None
    handler: logging.Handler | None = None
    replaced: list[logging.Handler] = field(default_factory=list)
    root_level: int = logging.WARNING
    runs_level: int = logging.NOTSET
    dropped: int = 0
    """By pipes that are closed."""


_state = _State()


def configure(
    *,
    format: Literal["auto", "json", "readable"] | None = None,  # noqa: A002 - the word that is looked for
    level: str | None = None,
    runs: bool | None = None,
    stream: TextIO | None = None,
) -> None:
    """Send what stdlib logging and structlog say to one stream, stderr unless told otherwise.

    Settings are keywords, or `FLUID_LOG_*` variables; see `LogSettings`. Called again, it starts anew.
    """
    given = {"format": format, "level": level, "runs": runs}
    settings = LogSettings(**{name: value for name, value in given.items() if value is not None})
    reset()
    target = stream or sys.stderr
    person = target.isatty() if settings.format == "auto" else settings.format == "readable"
    colors = target.isatty() and not os.environ.get("NO_COLOR")
    output = Output(readable(colors=colors) if person else as_json, writing_to(target))
    _configure_stdlib(output, settings)
    _configure_structlog(settings)
    _state.output = output
    if otlp := exported_logs():
        output.export(otlp)


def reset() -> None:
    """Undo `configure`: what waits is written; handlers and structlog are as if it had never been called."""
    output, handler = _state.output, _state.handler
    if output is None or handler is None:
        return
    root = logging.getLogger()
    root.removeHandler(handler)
    for replaced in _state.replaced:
        root.addHandler(replaced)
    root.setLevel(_state.root_level)
    logging.getLogger(RUNS_LOGGER).setLevel(_state.runs_level)
    structlog.reset_defaults()
    _state.output = _state.handler = None
    output.close()
    _state.dropped += output.pipe.dropped


def output_of_logs() -> Output | None:
    """Where lines go; None when `configure` was not called."""
    return _state.output


def dropped_lines() -> int:
    """Lines that were never written, since the process began."""
    return _state.dropped + (_state.output.pipe.dropped if _state.output else 0)


def is_configured() -> bool:
    """Whether anybody, we or the user, has set up logging in this process."""
    return bool(logging.getLogger().handlers) or structlog.is_configured()


def add_ids(logger: Any, method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:  # noqa: ARG001
    """A processor of structlog, for who configures it himself: the ids of the run that the line is in."""
    line.update(_ids(current_run(), trace.get_current_span().get_span_context()))
    return line


@lru_cache
def level_name(level: int) -> str:
    """`info`, `warning`, ..."""
    return logging.getLevelName(level).lower()


def _configure_stdlib(output: Output, settings: LogSettings) -> None:
    root = logging.getLogger()
    _state.replaced, _state.root_level = root.handlers[:], root.level
    for handler in _state.replaced:
        root.removeHandler(handler)
    _state.handler = StdlibHandler(output)
    root.addHandler(_state.handler)
    root.setLevel(settings.level)
    _state.runs_level = logging.getLogger(RUNS_LOGGER).level
    if not settings.runs:
        logging.getLogger(RUNS_LOGGER).setLevel(logging.WARNING)


def _configure_structlog(settings: LogSettings) -> None:
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, _write],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[settings.level]),
        context_class=dict,
        logger_factory=_Named,
        cache_logger_on_first_use=True,
    )


def _write(logger: Any, method: str, line: MutableMapping[str, Any]) -> NoReturn:
    """The last processor of structlog."""
    output = _state.output
    if output is not None:
        level = logging.getLevelNamesMapping().get(_LEVELS.get(method, method).upper(), logging.INFO)
        message, error = shown(line.pop("event", "")), line.pop("exc_info", None)
        output.compose(level, getattr(logger, "name", ""), message, line, exception=_exception(error))
    raise structlog.DropEvent


def _ids(run: CurrentRun | None, span: trace.SpanContext) -> dict[str, Any]:
    """The run's, and those of the span that is current, which may be one that the body has made."""
    if run is None:
        return trace_ids(span)
    return run.ids | trace_ids(span) if span.is_valid else run.ids


def _masked(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        return cast(Mapping[str, Any], mask(fields))
    except Exception as error:  # noqa: BLE001 - a line is written whatever is in it
        return {"fault": f"what was given with this line cannot be looked at: {type(error).__name__}"}


def _without(secrets: Collection[str], value: Any) -> Any:
    match value:
        case str():
            return hide(value, secrets)
        case dict():
            return {name: _without(secrets, inner) for name, inner in value.items()}
        case list():
            return [_without(secrets, inner) for inner in value]
        case BaseException():
            return hide(shown(value), secrets)
    return value


def _exception(info: Any) -> str:
    """The traceback that stdlib's or structlog's `exc_info` means."""
    if isinstance(info, BaseException):
        error: BaseException | None = info
    elif isinstance(info, tuple):
        error = info[1]
    else:
        error = sys.exc_info()[1] if info else None
    return "".join(traceback.format_exception(error)).rstrip() if error is not None else ""


def _after_fork() -> None:
    if _state.output is not None:
        _state.output.pipe.start_again()


def _at_exit() -> None:
    if _state.output is not None:
        _state.output.close()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
