"""The Redis wire protocol, as far as a proxy must know it: where a message ends and what it asks for."""

from __future__ import annotations

SIZED = b"$!="
AGGREGATE = b"*~>%|"
PAIRED = b"%|"
UNASKED = b">|"
"""First bytes of what the server says besides the answers to requests (RESP3 pushes, attributes)."""


class Frames:
    """Cuts a stream into whole top-level messages, in whatever pieces it arrives."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._at = 0
        self._missing = 1

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that are complete now, byte for byte."""
        self._buffer += data
        whole = []
        while self._step():
            if not self._missing:
                whole.append(bytes(self._buffer[: self._at]))
                del self._buffer[: self._at]
                self._at, self._missing = 0, 1
        return whole

    def _step(self) -> bool:
        """Go past one element; False when it has not arrived whole."""
        line_end = self._buffer.find(b"\r\n", self._at)
        if line_end < 0:
            return False
        kind, end, nested = self._buffer[self._at], line_end + 2, 0
        if kind in SIZED or kind in AGGREGATE:
            size = int(self._buffer[self._at + 1 : line_end])
            if size > 0 and kind in AGGREGATE:
                nested = size * 2 if kind in PAIRED else size
            elif size >= 0 and kind in SIZED:
                end += size + 2
        if end > len(self._buffer):
            return False
        self._at = end
        self._missing += nested - 1
        return True


def command_name(request: bytes) -> str:
    """The upper-cased name of the command that a whole request asks for."""
    name = request.split(b"\r\n", 3)[2] if request.startswith(b"*") else request.split(maxsplit=1)[0]
    return name.decode().upper()
