#!/usr/bin/env python3
"""Writes the pages that say what the code says: `python docs/generate.py`."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import dedent

from pydantic import SecretStr
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

from fluid.scheduler import EVENTS, Event, TaskManagerConfig
from telemetry.settings import LogSettings, TelemetrySettings

DOCS = Path(__file__).resolve().parent

EVENTS_HEAD = """\
# Events

What is announced, when, and with what. This page is written by `docs/generate.py` from
`fluid.scheduler.EVENTS`; [how it works](how-it-works.md#events) says what may be relied on.

    consumer.register_async_handler("failure.pager", handler)
    consumer.dispatcher.register_handler("failure.count", handler)

The first is an async handler: it is told through a queue, gets the run as it was at the event, and may take
its time. The second is a sync one: it is called in line, so it must be tiny. The part after the dot is the
handler's name, so many handlers can hear one event; `*` hears all of them. Both are called with an `Event`.
"""

SETTINGS_HEAD = """\
# Settings

Each can be given as a keyword, `TaskConsumer(max_concurrent_tasks=8)`, or as an environment variable; the
keyword wins. All are checked before anything starts, and all faults are reported at once. This page is
written by `docs/generate.py` from the settings themselves.
"""


def events_page() -> Iterator[str]:
    """`events.md`, line by line."""
    yield from EVENTS_HEAD.splitlines()
    yield from ("", "| field of `Event` | meaning |", "|---|---|")
    for name, meaning in attribute_docstrings(Event).items():
        yield f"| `{name}` | {meaning} |"
    for title, about_run in (("About a run", True), ("About a consumer and its queue", False)):
        yield from ("", f"## {title}", "", "| event | announced when | reasons |", "|---|---|---|")
        for name, row in EVENTS.items():
            if row.about_run is about_run:
                reasons = ", ".join(f"`{reason}`" for reason in row.reasons) or "-"
                yield f"| `{name}` | {row.when} | {reasons} |"


def settings_page() -> Iterator[str]:
    """`settings.md`, line by line."""
    yield from SETTINGS_HEAD.splitlines()
    for title, settings in (
        ("Of a consumer or a manager", TaskManagerConfig),
        ("Of the side server", TelemetrySettings),
        ("Of logs: keywords of `telemetry.logs.configure`", LogSettings),
    ):
        yield from ("", f"## {title}", "", "| variable | default | meaning |", "|---|---|---|")
        meanings = attribute_docstrings(settings)
        for name in settings.model_fields:
            variable = f"{settings.model_config['env_prefix']}{name}".upper()
            yield f"| `{variable}` | {_default(settings, name)} | {meanings[name]} |"


def _default(settings: type[BaseSettings], name: str) -> str:
    default = settings.model_fields[name].get_default(call_default_factory=False)
    if default is PydanticUndefined:
        return "needed"
    if default in (None, "") or isinstance(default, SecretStr):
        return "empty"
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


def attribute_docstrings(kind: type) -> dict[str, str]:
    """The docstring under each annotated attribute of a class, in one line."""
    (definition,) = ast.parse(dedent(inspect.getsource(kind))).body
    if not isinstance(definition, ast.ClassDef):
        raise TypeError(f"{kind} is no class")
    said = {}
    for attribute, docstring in zip(definition.body, definition.body[1:], strict=False):
        match attribute, docstring:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(meaning))),
            ):
                said[name] = " ".join(meaning.split())
    return said


def pages() -> Mapping[Path, str]:
    """What every generated page should hold."""
    made = {"events.md": events_page(), "settings.md": settings_page()}
    return {DOCS / name: "\n".join(lines) + "\n" for name, lines in made.items()}


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
