"""How a line looks: JSON for machines, columns and colours for a person."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
import structlog

Line = Mapping[str, Any]
"""A line as data: what is in `HEAD`, then what belongs to it."""

HEAD = ("timestamp", "level", "logger", "message")
"""What every line begins with."""

LONGEST_TEXT = 32_000
"""Characters of one text in a line: what is longer is cut in its middle."""

NOT_FOR_PERSONS = ("logger", "consumer", "span_id", "event", "outcome")
"""What a readable line leaves out, to stay one."""


class RunLine(msgspec.Struct, omit_defaults=True, gc=False):
    """A line that every run has, as few objects as can be: it is rendered later, with others."""

    timestamp: datetime
    level: msgspec.Raw
    """JSON, by `rendered_once`: the level, and after it what all such lines of a task have alike."""
    run_id: str
    attempt: int
    consumer: msgspec.Raw
    """The same."""
    trace_id: str = ""
    span_id: str = ""
    waited: float | None = None
    ran: float | None = None
    latency: float | None = None
    local: bool = False

    def as_data(self) -> dict[str, Any]:
        """The same, as data."""
        data: dict[str, Any] = msgspec.json.decode(_run_as_json(self))
        return data | {"timestamp": self.timestamp}


def rendered_once(value: str, line: Line) -> msgspec.Raw:
    """What may stand in place of the value, in JSON, for `line` to come after it."""
    return msgspec.Raw(as_json({"": value, **line})[len(b'{"":') : -len(b"}\n")])


def _plain(value: Any) -> str:
    """What JSON does not know, in words."""
    return shown(value)


_encoder = msgspec.json.Encoder(enc_hook=_plain, uuid_format="canonical", decimal_format="string")


def shown(value: object) -> str:
    """The value in words, also when it cannot be shown."""
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001 - a line is written whatever is in it
        return f"<a {type(value).__name__} that cannot be shown: {type(error).__name__}>"


def as_json(line: Line) -> bytes:
    """One line of JSON. It is written whatever is in it."""
    try:
        return _encoder.encode(line) + b"\n"
    except Exception:  # noqa: BLE001 - then every value is told in words
        return _encoder.encode({_utf8(str(key)): _utf8(shown(value)) for key, value in line.items()}) + b"\n"


def all_as_json(lines: Sequence[RunLine | bytes]) -> bytes:
    """Lines of JSON: of what is rendered already, and what is not."""
    if set(map(type, lines)) != {RunLine}:
        return b"".join(map(_run_as_json, lines))
    try:
        return _encoder.encode_lines(lines)
    except UnicodeEncodeError:
        return b"".join(map(_run_as_json, lines))


def _run_as_json(line: RunLine | bytes) -> bytes:
    if isinstance(line, bytes):
        return line
    try:
        return _encoder.encode(line) + b"\n"
    except UnicodeEncodeError:  # an id that is no text
        return _encoder.encode(msgspec.structs.replace(line, run_id=_utf8(line.run_id))) + b"\n"


def readable(*, colors: bool) -> Callable[[Line], bytes]:
    """Lines for a person."""
    # Its own tracebacks would show what variables hold.
    console = structlog.dev.ConsoleRenderer(
        colors=colors,
        event_key="message",
        sort_keys=False,
        pad_event_to=24,
        exception_formatter=structlog.dev.plain_traceback,
    )

    def render(line: Line) -> bytes:
        told = {key: value for key, value in line.items() if key not in NOT_FOR_PERSONS}
        instant = told["timestamp"]
        if isinstance(instant, datetime):
            told["timestamp"] = f"{instant.astimezone():%H:%M:%S.%f}"[:-3]
        return f"{console(None, '', told)}\n".encode(errors="backslashreplace")

    return render


def cut(text: str) -> str:
    """The text, without its middle if it is very long."""
    if len(text) <= LONGEST_TEXT:
        return text
    half = LONGEST_TEXT // 2
    return f"{text[:half]} ... {text[-half:]}"


def _utf8(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()
