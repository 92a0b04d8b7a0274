"""Lines as OTLP log records, for who sets an endpoint.

The logs signal of OpenTelemetry is stable, its Python API is not: all of it that we use is in this room.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from datetime import datetime
from importlib.util import find_spec
from typing import Any

from opentelemetry import context, trace
from opentelemetry._logs import SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider

from telemetry.rendering import shown

ENDPOINTS = ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")

EXPORTER = "opentelemetry.exporter.otlp.proto.http"

NOT_EXPORTED = "opentelemetry"
"""Loggers below this one tell of the export itself: exported, each line of theirs would make another."""

BODY = frozenset({"timestamp", "level", "message", "trace_id", "span_id"})
"""What has its own place in a record; everything else is an attribute."""

_SEVERITY = {
    logging.DEBUG: SeverityNumber.DEBUG,
    logging.INFO: SeverityNumber.INFO,
    logging.WARNING: SeverityNumber.WARN,
    logging.ERROR: SeverityNumber.ERROR,
    logging.CRITICAL: SeverityNumber.FATAL,
}

logger = logging.getLogger("fluid")


class OtlpLogs:
    """Exports lines in a thread of the SDK, through a bounded queue. The variables are the standard ones."""

    def __init__(self) -> None:
        # Heavy, and only for who exports.
        from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
        from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

        self._provider = LoggerProvider(shutdown_on_exit=False)
        self._provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
        self._logger = self._provider.get_logger("fluid")
        # Its end may come when the interpreter ends, and then no thread can be started any more.
        self._closing, self._closed = threading.Event(), threading.Event()
        threading.Thread(target=self._close_when_asked, name="otlp-logs-close", daemon=True).start()

    def emit(self, level: int, line: Mapping[str, Any], span: trace.SpanContext) -> None:
        """Have a line exported, soon."""
        if str(line["logger"]).startswith(NOT_EXPORTED):
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
        self._closing.set()
        self._closed.wait(timeout)

    def _close_when_asked(self) -> None:
        self._closing.wait()
        self._provider.shutdown()
        self._closed.set()


def exported_logs() -> OtlpLogs | None:
    """The export that the environment asks for; None when it asks for none, or cannot have it."""
    asked = next((name for name in ENDPOINTS if os.environ.get(name)), None)
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if asked is None or disabled or os.environ.get("OTEL_LOGS_EXPORTER", "otlp") != "otlp":
        return None
    if find_spec("opentelemetry.exporter") is None or find_spec(EXPORTER) is None:
        logger.warning(
            "%s is set, but logs are not exported: install the exporter, pip install 'fluid-tasks[otlp]', or "
            "set OTEL_LOGS_EXPORTER=none",
            asked,
        )
        return None
    return OtlpLogs()


def _attribute(value: Any) -> Any:
    return value if isinstance(value, str | bool | int | float) else shown(value)
