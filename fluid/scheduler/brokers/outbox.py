"""Events on their way to the broker: only so many wait, and each has a number, so that none is told twice."""

from __future__ import annotations

from collections import deque


class Outbox:
    """What was sent and not confirmed keeps its number; when too many wait, the oldest is dropped."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._waiting: deque[bytes] = deque()
        self._under_way: list[bytes] = []
        self._first = 1
        self.told = 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._waiting) + len(self._under_way)

    def put(self, event: bytes) -> None:
        """Add one behind the others."""
        self._waiting.append(event)
        self._keep_to_size()

    def send(self, most: int) -> tuple[int, list[bytes]] | None:
        """The oldest, and the number of the first; None when there are none, or the last are under way."""
        if self._under_way or not self._waiting:
            return None
        self._under_way = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
        return self._first, self._under_way

    def arrived(self) -> None:
        """Those under way are told."""
        self.told += len(self._under_way)
        self._first += len(self._under_way)
        self._under_way = []

    def came_back(self) -> None:
        """Those under way may not have arrived: they are sent again, under the same numbers."""
        self._waiting.extendleft(reversed(self._under_way))
        self._under_way = []
        self._keep_to_size()

    def _keep_to_size(self) -> None:
        while len(self._waiting) > self._size:
            self._waiting.popleft()
            self.dropped += 1
            # behind those under way nothing was ever sent, so nothing there has a number yet
            self._first += not self._under_way
