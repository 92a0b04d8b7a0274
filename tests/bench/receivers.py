"""Receivers of traces that are well, away, slow or refuse, for what an exporter in trouble costs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.support.lifeline import LOOPBACK, free_port

HEALTHY, UNREACHABLE, SLOW, UNAVAILABLE = RECEIVERS = ("healthy", "unreachable", "slow", "503")
"""How a receiver may be; the slow one answers nobody before it ends."""


class _Receiver(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, kind: str) -> None:
        super().__init__((LOOPBACK, 0), _Answer)
        self.kind = kind
        self.over = threading.Event()


class _Answer(BaseHTTPRequestHandler):
    server: _Receiver

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        if self.server.kind == SLOW:
            self.server.over.wait()
            return
        self.send_response(503 if self.server.kind == UNAVAILABLE else 200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def exporting_to(kind: str) -> Iterator[dict[str, str]]:
    """The variables with which every trace is recorded, and sent to such a receiver."""
    with _Receiver(kind) as receiver:
        taking = threading.Thread(target=receiver.serve_forever)
        taking.start()
        port = free_port() if kind == UNREACHABLE else receiver.server_port
        try:
            yield {
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"http://{LOOPBACK}:{port}/v1/traces",
                "OTEL_TRACES_SAMPLER": "always_on",
            }
        finally:
            receiver.over.set()
            receiver.shutdown()
            taking.join()
