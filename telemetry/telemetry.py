"""Telemetry: attached to a consumer or a manager, it listens, counts and serves."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.metrics_core import Metric as Family

from fluid.errors import PluginError
from fluid.scheduler import TaskConsumer, TaskManager
from fluid.workers import Worker
from telemetry import names
from telemetry.alerts import Alerts
from telemetry.alerts.notifier import Notifier
from telemetry.canary import CANARY, Canary, CanarySeries
from telemetry.current import CurrentRuns
from telemetry.exposition import Exposition, Families, Renderer
from telemetry.gauges import Gauges
from telemetry.health import Health
from telemetry.logs import output_of_logs
from telemetry.loop import LoopLag
from telemetry.metrics import Metrics
from telemetry.narrator import Narrator
from telemetry.offloaded import Offloaded
from telemetry.providers import PROVIDERS
from telemetry.sending import STOP_SECONDS
from telemetry.series import Row, rows_of
from telemetry.server import SideServer, Sources
from telemetry.settings import TelemetrySettings
from telemetry.status import status_of
from telemetry.trace_context import trace_of
from telemetry.traces import traces_of
from telemetry.watchdog import Watchdog


class Attachment:
    """What there is for one host: listeners, series, workers."""

    def __init__(
        self, host: TaskManager, settings: TelemetrySettings, alerts: Alerts | None, *, serve: bool
    ) -> None:
        self.host = host
        self.traces = traces_of(host, settings.traces)
        self.metrics = Metrics(host, max_tasks=settings.max_tasks, trace_of=trace_of if self.traces else None)
        self.gauges = Gauges(host, self.metrics)
        self.health = Health(host)
        self.runs = CurrentRuns(host, self.traces)
        self.narrator = Narrator(host, self.runs)
        self.offloaded = Offloaded(lambda: output_of_logs() is not None)
        self.notifier = Notifier(host, alerts)
        self.server = self._server(settings) if serve else None
        self.workers: list[Worker] = [LoopLag(self.metrics.process.loop_lag), Watchdog(host)]
        self.workers += self.notifier.workers
        if self.traces:
            self.workers.append(Flushing())
        self.canary = CanarySeries()
        if settings.canary and isinstance(host, TaskConsumer):
            self.workers.append(Canary(host, self.canary, settings.canary))
        if self.server is not None:
            self.workers.append(self.server)
        # A thread of its own: bodies may keep all those of the loop busy.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="telemetry")
        self._renderer = Renderer(host.broker.queue)
        self._of_process = CollectorRegistry()
        ProcessCollector(registry=self._of_process)
        PlatformCollector(registry=self._of_process)
        GCCollector(registry=self._of_process)

    def begin(self) -> None:
        """Listen, and have the workers run."""
        if self.traces:
            self.traces.listen()
        # before the metrics: they take the ids of an attempt's span, planned then, as its exemplar
        self.runs.listen()
        self.metrics.listen()
        if any(isinstance(worker, Canary) for worker in self.workers):
            self.host.register_task(CANARY)
            self.metrics.add_own_task(CANARY.name)
        self.health.listen()
        self.narrator.listen()
        self.host.interceptors.append(self.offloaded)
        self.notifier.listen()
        self.host.add_workers(*self.workers)

    def end(self) -> None:
        """Leave nothing behind."""
        self.host.remove_workers(*self.workers)
        self.notifier.stop_listening()
        self.host.interceptors.remove(self.offloaded)
        self.narrator.stop_listening()
        self.runs.stop_listening()
        self.health.stop_listening()
        self.metrics.stop_listening()
        if self.traces:
            self.traces.stop_listening()
        self.gauges.snapshots.forget()
        self._thread.shutdown(wait=False)

    def collect(self) -> Iterator[Family]:
        """Every family, for the Prometheus client."""
        rows, process = self._everything()
        yield from (row.family(self.host.broker.queue) for row in rows)
        yield from process.families

    async def expose(self, accept: str, accept_encoding: str) -> Exposition:
        """A scrape. With many tasks, rendering takes longer than the loop may stand still."""
        await self.gauges.read()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._render, accept, accept_encoding)

    def _render(self, accept: str, accept_encoding: str) -> Exposition:
        rows, process = self._everything()
        return self._renderer.render(rows, process, accept=accept, accept_encoding=accept_encoding)

    def _everything(self) -> tuple[list[Row], Families]:
        queue = {names.QUEUE_LABEL: self.host.broker.queue}
        process = list(self._of_process.collect())
        for family in process:
            family.samples = [sample._replace(labels=sample.labels | queue) for sample in family.samples]
        canary = rows_of({(): self.canary})
        rows = [*self.metrics.rows(), *canary, *self.gauges.rows(), *self.notifier.rows(), *_dropped()]
        series = 1 + sum(row.series for row in rows) + sum(len(family.samples) for family in process)
        return [*rows, Row(names.SERIES, [((), series)])], Families(process)

    def _server(self, settings: TelemetrySettings) -> SideServer:
        sources = Sources(
            expose=self.expose,
            status=lambda: status_of(self.host, self.gauges.snapshots, self.metrics),
            health=self.health,
        )
        return SideServer(settings, sources, may_stop_the_start=self.host.state.is_init)


class Flushing(Worker):
    """Has what was traced sent when the host stops, after everything that is traced has ended."""

    def __init__(self) -> None:
        super().__init__(name="traces", critical=False, stage=-30)

    async def run(self) -> None:
        """Wait for the stop, then send."""
        await self.wait_for_stop()
        await asyncio.to_thread(PROVIDERS.flush, STOP_SECONDS)


def _dropped() -> Iterator[Row]:
    for metric, dropped in (
        (names.SPANS_DROPPED, PROVIDERS.dropped_spans),
        (names.RECORDS_DROPPED, PROVIDERS.dropped_records),
    ):
        yield Row(metric, [((cause,), count) for cause, count in dropped.items()])


class Telemetry:
    """Makes what a consumer or a manager does visible: `Telemetry().attach(consumer)`.

    A consumer gets a side server, a manager only with `server=True`. `alerts` says who is told when something
    goes wrong; without it, the file in `FLUID_TELEMETRY_ALERTS`, if any, does. Settings are keywords, or
    `FLUID_TELEMETRY_*` variables; see `TelemetrySettings`.
    """

    def __init__(
        self,
        settings: TelemetrySettings | None = None,
        *,
        server: bool | None = None,
        host: str | None = None,
        port: int | None = None,
        alerts: Alerts | None = None,
    ) -> None:
        given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
        known = settings.model_dump(exclude_unset=True) if settings else {}
        self._settings = TelemetrySettings(**(known | given))
        self._alerts = alerts or (Alerts.read(path) if (path := self._settings.alerts) else None)
        self._serve = server
        self._attachment: Attachment | None = None
        self._registry = CollectorRegistry()

    @property
    def settings(self) -> TelemetrySettings:
        """The settings."""
        return self._settings

    @property
    def registry(self) -> CollectorRegistry:
        """A registry of its own. It tells the queue as the last `expose` has read it."""
        return self._registry

    @property
    def url(self) -> str | None:
        """Where the side server listens; None while there is none."""
        server = self._attachment and self._attachment.server
        return server.url if server else None

    def attach(self, host: TaskManager) -> None:
        """Listen to a consumer or a manager, and serve beside it.

        PluginError if this is attached already, or something of its kind is attached to the host.
        """
        if self._attachment is not None:
            raise PluginError("this telemetry is attached already: make another one for another host")
        serve = isinstance(host, TaskConsumer) if self._serve is None else self._serve
        attachment = Attachment(host, self._settings, self._alerts, serve=serve)
        attachment.begin()
        self._registry.register(attachment)
        self._attachment = attachment

    def detach(self) -> None:
        """Stop listening and serving, and leave nothing behind; attached to nothing, it does nothing."""
        attachment, self._attachment = self._attachment, None
        if attachment is not None:
            self._registry.unregister(attachment)
            attachment.end()

    async def expose(self, accept: str = "", accept_encoding: str = "") -> Exposition:
        """A scrape, for programs that serve metrics themselves; the arguments are the request's headers."""
        if self._attachment is None:
            raise PluginError("there is nothing to expose: this telemetry is attached to nothing")
        return await self._attachment.expose(accept, accept_encoding)
