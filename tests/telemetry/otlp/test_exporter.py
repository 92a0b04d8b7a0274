"""How a batch is sent: tried again while that may help, within its time, and with nothing secret told."""

from __future__ import annotations

import gzip
import ssl
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn

import pytest
from urllib3.exceptions import HTTPError, ProtocolError

from fluid import __version__
from fluid.clock import elapsed, now
from telemetry.otlp import exporter as room
from telemetry.otlp.answers import Answer, words
from telemetry.otlp.destination import Destination
from telemetry.otlp.envelope import Request
from telemetry.otlp.exporter import Exporter
from telemetry.otlp.wire import SIZED, VARINT, sized, tag, text, varint
from telemetry.trouble import DeliveryError
from tests.support.certificates import certificate
from tests.support.lifeline import LOOPBACK, free_port

PATIENCE = 30.0

Reply = Callable[[BaseHTTPRequestHandler], None]


def reply(status: int = 200, body: bytes = b"", **headers: str) -> Reply:
    """Answers so, and keeps the connection."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    """Says nothing and closes the connection."""
    handler.close_connection = True


@dataclass
class Receiver:
    """Answers one request after the other as it was told to, and the rest with 200."""

    replies: list[Reply] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    peers: list[Any] = field(default_factory=list)
    url: str = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.bodies.append(handler.rfile.read(int(handler.headers["content-length"])))
        self.headers.append({name.lower(): value for name, value in handler.headers.items()})
        self.paths.append(handler.path)
        self.peers.append(handler.client_address)
        (self.replies.pop(0) if self.replies else reply())(handler)


@contextmanager
def receiving(*replies: Reply, tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    receiver = Receiver(list(replies))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            receiver.answer(self)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

    with Server((LOOPBACK, 0), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        scheme = "http" if tls is None else "https"
        receiver.url = f"{scheme}://{LOOPBACK}:{server.server_port}/v1/traces"
        taking = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        taking.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            taking.join()


@pytest.fixture(autouse=True)
def _direct_and_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy of the machine's, and no second between tries."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(room, "FIRST_WAIT", 0.01)


def as_they_are(batch: Any) -> Request:
    return Request(b"".join(batch), 0, None)


class Exporting:
    """An exporter of bytes, and what it told of its troubles."""

    def __init__(self, url: str, encode: Callable[[Any], Request] = as_they_are, **about: Any) -> None:
        self.exporter = Exporter[bytes](Destination(url, **about), encode)
        self.troubles: list[str] = []

    def send(self, *batch: bytes) -> None:
        self.exporter.export(batch or (b"batch",), self.troubles.append)


def test_a_batch_is_posted_as_what_it_is_with_the_headers_that_are_asked_for() -> None:
    with receiving() as receiver:
        Exporting(receiver.url, headers={"x-key": "1"}).send(b"one", b"two")
        [told] = receiver.headers
    assert receiver.bodies == [b"onetwo"]
    assert told["content-type"] == "application/x-protobuf"
    assert told["user-agent"] == f"fluid-tasks/{__version__}"
    assert told["x-key"] == "1"


@pytest.mark.parametrize(("compression", "read"), [("gzip", gzip.decompress), ("deflate", zlib.decompress)])
def test_a_batch_is_compressed_where_that_is_asked_for(
    compression: str, read: Callable[[bytes], bytes]
) -> None:
    with receiving() as receiver:
        Exporting(receiver.url, compression=compression).send(b"batch")
        assert receiver.headers[0]["content-encoding"] == compression
        assert read(receiver.bodies[0]) == b"batch"


def test_a_connection_is_kept() -> None:
    with receiving(reply(body=b"x"), reply(503), reply()) as receiver:
        exporting = Exporting(receiver.url)
        exporting.send()
        exporting.send()
        exporting.send()
        assert len(receiver.peers) == 4
        assert len(set(receiver.peers)) == 1


def test_an_answer_that_is_too_long_is_not_read_to_its_end() -> None:
    with receiving(reply(body=bytes(4 * room.MOST_READ))) as receiver:
        exporting = Exporting(receiver.url)
        exporting.send()
        exporting.send()
        assert len(set(receiver.peers)) == 2


def test_a_kept_connection_that_the_receiver_has_closed_is_made_anew_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(room, "FIRST_WAIT", 2 * PATIENCE)
    with receiving(reply(), hang_up) as receiver:
        exporting = Exporting(receiver.url)
        exporting.send(b"one")
        exporting.send(b"two")
        assert receiver.bodies == [b"one", b"two", b"two"]
        assert exporting.troubles == []


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_receiver_that_is_busy_is_asked_again(status: int) -> None:
    with receiving(reply(status), reply(status)) as receiver:
        exporting = Exporting(receiver.url)
        exporting.send()
        assert len(receiver.bodies) == 3
        assert exporting.troubles == [f"{receiver.url} answers {status}"] * 2


@pytest.mark.parametrize("status", [301, 307, 400, 401, 404, 413, 500])
def test_a_receiver_that_refuses_is_not_asked_again_nor_followed(status: int) -> None:
    with receiving(reply(status, location="/elsewhere")) as receiver:
        exporting = Exporting(receiver.url)
        with pytest.raises(DeliveryError, match=f"^{receiver.url} answers {status}$"):
            exporting.send()
        assert receiver.paths == ["/v1/traces"]
        assert exporting.troubles == []


def test_all_tries_are_within_the_timeout() -> None:
    with receiving(*[reply(503)] * 100) as receiver:
        began = elapsed()
        exporting = Exporting(receiver.url, timeout=0.3)
        with pytest.raises(DeliveryError, match="answers 503"):
            exporting.send()
        assert elapsed() - began < 5
        assert 1 < len(receiver.bodies) < 10


def test_a_receiver_that_is_not_there_is_named_without_what_is_secret() -> None:
    url = f"http://{LOOPBACK}:{free_port()}/v1/traces"
    exporting = Exporting(f"{url}?key=hunter2", timeout=0.1, headers={"x": "hunter3"})
    with pytest.raises(DeliveryError) as told:
        exporting.send()
    assert str(told.value) == f"{url} does not answer: Connection refused"
    assert exporting.troubles
    assert "hunter" not in str(exporting.troubles)


def test_a_receiver_that_takes_too_long_is_given_up() -> None:
    over = threading.Event()
    with receiving(lambda _: (over.wait(PATIENCE), None)[1]) as receiver:
        with pytest.raises(DeliveryError, match="does not answer: it takes too long"):
            Exporting(receiver.url, timeout=0.2).send()
        over.set()


@pytest.mark.parametrize("asked", ["30", "Fri, 01 Jan 2100 00:00:00 GMT"])
def test_a_receiver_that_asks_for_more_time_than_there_is_is_not_asked_again(asked: str) -> None:
    with receiving(reply(503, retry_after=asked)) as receiver:
        with pytest.raises(DeliveryError):
            Exporting(receiver.url, timeout=5).send()
        assert len(receiver.bodies) == 1


@pytest.mark.parametrize(
    ("asked", "wait"), [("", None), ("0", 0), ("7", 7), ("-1", None), ("soon", None), ("1e400", None)]
)
def test_what_a_receiver_asks_for_is_read_where_it_can_be(asked: str, wait: float | None) -> None:
    assert Answer(503, {"retry-after": asked}).wait == wait


def test_a_date_is_a_time_from_now() -> None:
    answer = Answer(503, {"retry-after": format_datetime(now() + timedelta(seconds=60), usegmt=True)})
    assert answer.wait == pytest.approx(60, abs=5)
    assert Answer(503, {"retry-after": "Fri, 01 Jan 2010 00:00:00 GMT"}).wait == 0


def test_a_shutdown_ends_a_wait_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "FIRST_WAIT", 2 * PATIENCE)
    with receiving(reply(503)) as receiver:
        exporting = Exporting(receiver.url, timeout=10 * PATIENCE)
        waits = threading.Event()
        errors: list[Exception] = []

        def send() -> None:
            try:
                exporting.exporter.export((b"batch",), lambda _: waits.set())
            except DeliveryError as error:
                errors.append(error)

        thread = threading.Thread(target=send)
        thread.start()
        assert waits.wait(PATIENCE)
        exporting.exporter.shutdown()
        thread.join(PATIENCE)
        assert [str(error) for error in errors] == [f"{receiver.url} answers 503"]


def partly(count: int, why: str = "too old") -> bytes:
    """The answer of a receiver that took a batch but so many."""
    return tag(1, SIZED) + sized(tag(1, VARINT) + varint(count) + tag(2, SIZED) + text(why))


def test_what_a_receiver_refused_of_a_batch_that_it_took_is_counted() -> None:
    with receiving(reply(body=partly(1))) as receiver:
        with pytest.raises(DeliveryError, match=r"^1 of 2 were refused: too old$") as told:
            Exporting(receiver.url).send(b"one", b"two")
        assert told.value.count == 1


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"\x0a", b"\x08\x01", partly(0, "a hint"), partly(-1), partly(1000)]
)
def test_an_answer_that_says_nothing_sensible_refuses_nothing(body: bytes) -> None:
    with receiving(reply(body=body)) as receiver:
        exporting = Exporting(receiver.url)
        exporting.send(b"one", b"two")
        assert exporting.troubles == []
        assert receiver.bodies == [b"onetwo"], "it was taken, and is not sent again"
    assert Answer(200, {}, body).refused(2) == (0, "")


def test_what_could_not_be_encoded_is_counted_and_the_rest_is_sent() -> None:
    def encode(batch: Any) -> Request:
        return Request(batch[0], 1, ValueError("odd"))

    with receiving() as receiver:
        with pytest.raises(DeliveryError, match=r"1 of 2 could not be encoded: ValueError\('odd'\)") as told:
            Exporting(receiver.url, encode).send(b"one", b"two")
        assert (told.value.count, receiver.bodies) == (1, [b"one"])


def test_where_a_proxy_is_named_it_is_asked_with_its_login(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.replace("http://", "http://me:p%40ss@"))
        Exporting("http://collector.invalid:4318/v1/traces").send()
        assert proxy.paths == ["http://collector.invalid:4318/v1/traces"]
        assert proxy.headers[0]["proxy-authorization"] == "Basic bWU6cEBzcw=="


def test_whoever_is_excepted_is_asked_without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as receiver:
        monkeypatch.setenv("http_proxy", f"http://{LOOPBACK}:{free_port()}")
        monkeypatch.setenv("no_proxy", LOOPBACK)
        Exporting(receiver.url).send()
        assert receiver.paths == ["/v1/traces"]


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("asked", ["0", "Fri, 01 Jan 2010 00:00:00 GMT"])
def test_a_receiver_that_asks_for_no_pause_is_not_asked_without_one(asked: str, status: int) -> None:
    with receiving(*[reply(status, retry_after=asked)] * 1000) as receiver:
        with pytest.raises(DeliveryError):
            Exporting(receiver.url, timeout=0.3).send()
        assert len(receiver.bodies) < 10


def test_of_two_tries_in_a_row_the_reason_of_the_second_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    errors = iter([ProtocolError("gone", ConnectionResetError("the first")), HTTPError("the second")])

    def fail(*args: object, **about: object) -> NoReturn:
        raise next(errors)

    exporting = Exporting("http://collector.invalid:4318/v1/traces", timeout=0.001)
    monkeypatch.setattr(exporting.exporter._pool, "request", fail)
    with pytest.raises(DeliveryError, match=r"does not answer: the second$"):
        exporting.send()


@pytest.mark.parametrize("location", ["http://[bad", "/elsewhere"])
def test_a_redirect_is_an_answer_wherever_it_leads(location: str) -> None:
    with (
        receiving(reply(302, location=location)) as receiver,
        pytest.raises(DeliveryError, match=f"^{receiver.url} answers 302$"),
    ):
        Exporting(receiver.url).send()


def test_what_a_receiver_says_is_masked_before_it_is_cut_and_cannot_colour_the_log() -> None:
    assert "hunter2" not in words("x" * 180 + " http://user:hunter2secret@host/")
    assert words("\x1b[31mred\x07\nbell\0") == "[31mred bell"


def test_a_child_that_was_forked_makes_connections_of_its_own() -> None:
    with receiving() as receiver:
        exporting = Exporting(receiver.url)
        exporting.send()
        exporting.exporter.start_afresh()
        exporting.send()
        assert len(set(receiver.peers)) == 2


@pytest.mark.servers
def test_a_receiver_is_trusted_by_its_certificate_and_knows_us_by_ours(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=cert)
    tls.load_cert_chain(cert, key)
    tls.verify_mode = ssl.CERT_REQUIRED
    with receiving(tls=tls) as receiver:
        with pytest.raises(DeliveryError, match="certificate verify failed"):
            Exporting(receiver.url, timeout=0.5).send()
        with pytest.raises(DeliveryError, match="does not answer"):
            Exporting(receiver.url, timeout=0.5, certificate=cert).send()
        assert receiver.bodies == []
        Exporting(receiver.url, certificate=cert, client_certificate=cert, client_key=key).send()
        assert receiver.bodies == [b"batch"]
