"""Where spans and log records of this process go, as the `OTEL_*` variables say.

A provider that the program has set is the one that is used. Where there is none and an endpoint is set, one
is made, once for the process, and set as the program's: so spans that bodies make themselves go the same way.
A variable that asks for what cannot be had is told of, and nothing is traced: it never stops work.
"""

from __future__ import annotations

import atexit
import logging
import os
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from opentelemetry import trace
from opentelemetry._logs import LoggerProvider, NoOpLoggerProvider, get_logger_provider
from opentelemetry._logs._internal import ProxyLoggerProvider
from opentelemetry.sdk import _logs as sdk_logs
from opentelemetry.sdk import trace as sdk_trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import ProxyTracerProvider, TracerProvider

from telemetry.names import DROP_CAUSE
from telemetry.otlp.destination import PREFIX, destination, endpoint, fault_of_endpoint, variable
from telemetry.otlp.proxies import fault_of_proxy
from telemetry.sending import RecordSender, Sender, SpanSender

logger = logging.getLogger("telemetry")

PROTOCOL = "http/protobuf"


class Providers:
    """Those of this process."""

    def __init__(self) -> None:
        atexit.register(self.close)
        self._senders: list[Sender[Any]] = []
        self._spans: Sender[Any] | None = None
        self._records: Sender[Any] | None = None
        self._record_provider: LoggerProvider | None = None

    def for_spans(self) -> TracerProvider | None:
        """The program's own, or the one that is made for the endpoint; None when nothing is to be traced."""
        if is_disabled():
            return None
        known = trace.get_tracer_provider()
        if not isinstance(known, ProxyTracerProvider):
            return known
        if not _exports("traces"):
            return None
        from telemetry.otlp.exporter import Exporter
        from telemetry.otlp.spans import encode_spans

        self._spans = self._sender(Exporter(destination("traces"), encode_spans), "BSP", "spans")
        provider = sdk_trace.TracerProvider(resource=Resource.create(), shutdown_on_exit=False)
        provider.add_span_processor(SpanSender(self._spans))
        trace.set_tracer_provider(provider)
        return provider

    def for_records(self) -> LoggerProvider:
        """The program's own, or the one that is made for the endpoint, or one that keeps nothing.

        Exceptions go there: they belong to the traces, by the conventions.
        """
        known = get_logger_provider()
        if not isinstance(known, ProxyLoggerProvider):
            return known
        if self._record_provider is None:
            self._record_provider = self._new_record_provider()
        return self._record_provider

    def for_lines(self) -> LoggerProvider:
        """The same for log lines, which are many: it keeps them only where they are asked for by name."""
        if isinstance(get_logger_provider(), ProxyLoggerProvider) and not asks_for_lines():
            return NoOpLoggerProvider()
        return self.for_records()

    def _new_record_provider(self) -> LoggerProvider:
        if is_disabled() or not _exports("logs"):
            return NoOpLoggerProvider()
        from telemetry.otlp.exporter import Exporter
        from telemetry.otlp.records import encode_records

        self._records = self._sender(Exporter(destination("logs"), encode_records), "BLRP", "log records")
        provider = sdk_logs.LoggerProvider(resource=Resource.create(), shutdown_on_exit=False)
        provider.add_log_record_processor(RecordSender(self._records))
        return provider

    @property
    def dropped_spans(self) -> Mapping[str, int]:
        """How many spans were not delivered, by the cause."""
        return _dropped(self._spans)

    @property
    def dropped_records(self) -> Mapping[str, int]:
        """How many lines and exceptions were not delivered, by the cause."""
        return _dropped(self._records)

    def hurry(self) -> None:
        """Send what waits now, without waiting for it."""
        for sender in self._senders:
            sender.hurry()

    def flush(self, seconds: float) -> None:
        """Send what waits now, for so long."""
        for sender in self._senders:
            sender.flush(seconds / len(self._senders))

    def close(self) -> None:
        """Send what waits, for a moment, and nothing after."""
        for sender in self._senders:
            sender.close()

    def _sender(self, exporter: Any, variables: str, name: str) -> Sender[Any]:
        sender: Sender[Any] = Sender(
            exporter,
            name=name,
            queue_size=_number(f"OTEL_{variables}_MAX_QUEUE_SIZE", 2048),
            batch=_number(f"OTEL_{variables}_MAX_EXPORT_BATCH_SIZE", 512),
            delay=_number(f"OTEL_{variables}_SCHEDULE_DELAY", 5000) / 1000,
        )
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=sender.start_afresh)
        self._senders.append(sender)
        return sender


def _dropped(sender: Sender[Any] | None) -> Mapping[str, int]:
    return sender.dropped if sender else dict.fromkeys(DROP_CAUSE.values, 0)


PROVIDERS = Providers()


def is_disabled() -> bool:
    """Whether the variables switch everything off."""
    return os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def asks_for(signal: str) -> str:
    """The variable that asks for the export of a signal, `traces` or `logs`; empty when none does."""
    asked, _ = variable(signal, "ENDPOINT")
    return "" if _exporter(signal) == "none" else asked


def asks_for_lines() -> bool:
    """Whether a variable of the logs' own asks for their export: an endpoint for everything does not."""
    own = ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "OTEL_LOGS_EXPORTER")
    return bool(asks_for("logs")) and any(os.environ.get(name) for name in own)


def why_not(signal: str) -> str:
    """Why the export of a signal that was asked for cannot be had; empty when it can."""
    protocol = variable(signal, "PROTOCOL")[1] or PROTOCOL
    if _exporter(signal) != "otlp":
        return f"OTEL_{signal.upper()}_EXPORTER={_exporter(signal)} is not known here, set `otlp` or `none`"
    if protocol != PROTOCOL:
        own = f"{PREFIX}_{signal.upper()}_PROTOCOL"
        return f"{protocol} is not spoken here, set {own}={PROTOCOL} and the endpoint that speaks it"
    if find_spec("urllib3") is None:
        return "the exporter is not installed, pip install 'fluid-tasks[otlp]'"
    return fault_of_endpoint(signal) or fault_of_proxy(endpoint(signal))


def _exporter(signal: str) -> str:
    return os.environ.get(f"OTEL_{signal.upper()}_EXPORTER", "").strip() or "otlp"


def _exports(signal: str) -> bool:
    """Whether the variables ask for the export of a signal and it can be had."""
    asked = asks_for(signal)
    if asked and (fault := why_not(signal)):
        logger.warning("%s is set, but no %s are exported: %s", asked, signal, fault)
        return False
    return bool(asked)


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    if not text:
        return default
    if not text.isdigit() or int(text) == 0:
        logger.warning("%s=%s is no whole number from 1: %d is used", name, text, default)
        return default
    return int(text)
