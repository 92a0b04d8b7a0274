"""The lines that were logged, as they come out of the pipe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fluid.testing.waiting import PATIENCE
from telemetry import logs


class Logbook:
    """JSON lines in a file that `configure` writes to."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream = path.open("w", encoding="utf-8")

    def begin(self, **settings: Any) -> None:
        """Configure logging to write here."""
        logs.configure(stream=self._stream, **{"format": "json"} | settings)

    def end(self) -> None:
        """Have logging as it was."""
        logs.reset()
        self._stream.close()

    @property
    def text(self) -> str:
        """All that is written by now, what waits included."""
        output = logs.output_of_logs()
        assert output is None or output.pipe.flush(PATIENCE)
        return self._path.read_text(encoding="utf-8")

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Every line."""
        return [json.loads(line) for line in self.text.splitlines()]

    def saying(self, message: str) -> dict[str, Any]:
        """The one line with this message."""
        (line,) = [line for line in self.lines if line["message"] == message]
        return line

    def of(self, event: str, run_id: str | None = None) -> list[dict[str, Any]]:
        """The lines that tell of an event, of one run if it is named."""
        return [
            line for line in self.lines if line.get("event") == event and run_id in (None, line.get("run_id"))
        ]
