"""Where an error arose, for people: without the machinery that led to the code that raised it."""

from __future__ import annotations

import asyncio
import importlib
import os
import traceback
from collections.abc import Iterable, Iterator
from itertools import dropwhile
from pathlib import Path

__all__ = ["frames_of", "traceback_of"]

_ROOMS = (__file__, asyncio.__file__, importlib.__file__)
_MACHINERY = (*(f"{Path(room).parent}{os.sep}" for room in _ROOMS), "<frozen importlib")
"""How the files begin whose frames say nothing about what was called."""


def traceback_of(error: BaseException) -> str:
    """The traceback as Python writes it, of the error and of those that it came from."""
    told = traceback.TracebackException.from_exception(error)
    for one in _chain(told):
        # the frame that raised is always told, also when it is ours
        kept = _after_machinery(one.stack) or one.stack[-1:]
        one.stack = traceback.StackSummary.from_list(kept)
    return "".join(told.format())


def frames_of(error: BaseException) -> list[traceback.FrameSummary]:
    """Where the error came through outside of the machinery, outermost first; a syntax error, where it is."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_machinery(frame)]
    if isinstance(error, SyntaxError) and error.filename:
        frames.append(traceback.FrameSummary(error.filename, error.lineno, "", line=error.text))
    return frames


def _chain(told: traceback.TracebackException) -> Iterator[traceback.TracebackException]:
    """An error, and all that it came from or consists of."""
    waiting = [told]
    while waiting:
        one = waiting.pop()
        yield one
        waiting += [other for other in (one.__cause__, one.__context__) if other is not None]
        waiting += one.exceptions or ()


def _after_machinery(stack: Iterable[traceback.FrameSummary]) -> list[traceback.FrameSummary]:
    return list(dropwhile(_is_machinery, stack))


def _is_machinery(frame: traceback.FrameSummary) -> bool:
    return frame.filename.startswith(_MACHINERY)
