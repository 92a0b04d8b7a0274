"""What a scrape is answered with: as the Prometheus client renders it, but only what has changed."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from telemetry.names import Metric
from telemetry.resting import Rests
from telemetry.series import Child, Distribution, Row

COMPRESSION = 1
"""Above this level gzip takes more time than its bytes are worth."""

FORMATS_REMEMBERED = 4
"""Prometheus asks for one format, a person for another."""

EOF = b"# EOF\n"

Encoder = Callable[[Collector], bytes]


@dataclass(frozen=True, slots=True)
class Exposition:
    """The metrics in one of the formats of Prometheus."""

    content_type: str
    body: bytes
    compressed: bool


@dataclass(frozen=True, slots=True)
class Families:
    """Families, in the shape that the Prometheus client collects from."""

    families: Sequence[Family]

    def collect(self) -> Iterable[Family]:
        """All of them."""
        return self.families


def takes_gzip(accept_encoding: str) -> bool:
    """Whether a client with this `Accept-Encoding` wants its answer compressed."""
    for offer in accept_encoding.split(","):
        coding, _, quality = offer.replace(" ", "").partition(";q=")
        if coding.lower() == "gzip":
            return quality.strip("0.") != "" or not quality
    return False


class Writer:
    """Writes rows in one format. Rendering a line takes long, and most lines are the same at every scrape."""

    def __init__(self, encode: Encoder, queue: str) -> None:
        self._encode = encode
        self._queue = queue
        self._heads: dict[Metric, bytes] = {}
        self._written: dict[tuple[Metric, tuple[str, ...]], tuple[object, bytes]] = {}

    def write(self, rows: Iterable[Row]) -> Iterator[bytes]:
        """The rows, piece by piece."""
        rests = Rests()
        for metric, children in rows:
            head = self._heads.get(metric)
            if head is None:
                head = self._heads[metric] = self._text(metric)
            yield head
            for values, child in children:
                mark = child.mark() if isinstance(child, Distribution) else child
                known = self._written.get((metric, values))
                if known is None or known[0] != mark:
                    text = self._text(metric, (values, child)).removeprefix(head)
                    known = self._written[metric, values] = (mark, text)
                    rests.take()
                yield known[1]

    def _text(self, metric: Metric, *children: tuple[tuple[str, ...], Child]) -> bytes:
        families = Families([Row(metric, children).family(self._queue)])
        return self._encode(families).removesuffix(EOF)


class Renderer:
    """Renders rows and other families, in the format that a scraper asks for."""

    def __init__(self, queue: str) -> None:
        self._queue = queue
        self._writers: dict[str, Writer] = {}

    def render(
        self, rows: Iterable[Row], others: Families, *, accept: str, accept_encoding: str
    ) -> Exposition:
        """An answer to a scrape with these headers."""
        encode, content_type = choose_encoder(accept)
        pieces = self._writer(encode, content_type).write(rows)
        body = b"".join((*pieces, encode(others)))
        compress = takes_gzip(accept_encoding)
        return Exposition(content_type, gzip.compress(body, COMPRESSION) if compress else body, compress)

    def _writer(self, encode: Encoder, content_type: str) -> Writer:
        if content_type not in self._writers and len(self._writers) >= FORMATS_REMEMBERED:
            self._writers.clear()
        return self._writers.setdefault(content_type, Writer(encode, self._queue))
