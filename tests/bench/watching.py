"""What watches our own rows while they are measured: a scraper, and one who takes spans."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.support.lifeline import LOOPBACK, free_port

SCRAPE_SECONDS = 1.0
"""Fifteen times as often as Prometheus would."""


class _Taker(BaseHTTPRequestHandler):
    """Takes whatever is posted."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def watched(mode: str, sampled: float) -> Iterator[dict[str, str]]:
    """The settings with which the parts of telemetry in `mode` are on, and used."""
    if not mode:
        yield {}
        return
    port = free_port()
    over = threading.Event()
    scraper = threading.Thread(target=_scrape, args=(port, over))
    with ThreadingHTTPServer((LOOPBACK, 0), _Taker) as taker:
        taking = threading.Thread(target=taker.serve_forever)
        taking.start()
        scraper.start()
        try:
            yield {
                "BENCH_PORT": str(port),
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"http://{LOOPBACK}:{taker.server_port}/v1/traces",
                "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
                "OTEL_TRACES_SAMPLER_ARG": str(sampled),
            }
        finally:
            over.set()
            scraper.join()
            taker.shutdown()
            taking.join()


def _scrape(port: int, over: threading.Event) -> None:
    while not over.wait(SCRAPE_SECONDS):
        connection = HTTPConnection(LOOPBACK, port, timeout=5)
        with suppress(OSError, HTTPException):  # there is no consumer yet, or none any more
            connection.request("GET", "/metrics")
            connection.getresponse().read()
        connection.close()
