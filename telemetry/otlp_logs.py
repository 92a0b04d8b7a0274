"""Lines as OTLP log records, for who asks for them.

The logs signal of OpenTelemetry is stable, its Python API is not.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from opentelemetry import context, trace
from opentelemetry._logs import Logger, NoOpLogger, SeverityNumber

from telemetry.providers import PROVIDERS
from telemetry.rendering import shown
from telemetry.sending import is_sending

BODY = frozenset({"timestamp", "level", "message", "trace_id", "span_id"})
"""What has its own place in a record; everything else is an attribute."""

_SEVERITY = {
    logging.DEBUG: SeverityNumber.DEBUG,
    logging.INFO: SeverityNumber.INFO,
    logging.WARNING: SeverityNumber.WARN,
    logging.ERROR: SeverityNumber.ERROR,
    logging.CRITICAL: SeverityNumber.FATAL,
}


class OtlpLogs:
    """Exports lines, without waiting for it."""

    def __init__(self, logger: Logger) -> None:
        self._logger = logger

    def emit(self, level: int, line: Mapping[str, Any], span: trace.SpanContext) -> None:
        """Have a line exported, soon."""
        if is_sending():  # a line about the export would make another one, and so on
            return
        instant = line["timestamp"]
        self._logger.emit(
            timestamp=int(instant.timestamp() * 1e9) if isinstance(instant, datetime) else None,
            context=trace.set_span_in_context(trace.NonRecordingSpan(span), context.Context()),
            severity_number=_SEVERITY.get(level // 10 * 10, SeverityNumber.UNSPECIFIED),
            severity_text=str(line["level"]).upper(),
            body=str(line["message"]),
            attributes={key: _attribute(value) for key, value in line.items() if key not in BODY},
        )

    def close(self, timeout: float) -> None:
        """Export what waits, for at most so many seconds: an exporter that gets no answer takes its time."""
        PROVIDERS.flush(timeout)


def exported_logs() -> OtlpLogs | None:
    """The export that the environment, or the program, asks for; None when neither does."""
    logger = PROVIDERS.for_lines().get_logger("fluid")
    return None if isinstance(logger, NoOpLogger) else OtlpLogs(logger)


def _attribute(value: Any) -> Any:
    return value if isinstance(value, str | bool | int | float) else shown(value)
