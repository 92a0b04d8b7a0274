"""Every event a test heard, in order, and a way to wait for the next."""

from __future__ import annotations

from typing import Generic, Protocol

from typing_extensions import TypeVar

from fluid.scheduler.events import Event
from tests.support.waiting import Watch


class RunOfEvent(Protocol):
    """What is read of a run."""

    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...


class EventMessage(Protocol):
    """What is read of an event; one about a consumer has no run."""

    @property
    def name(self) -> str: ...
    @property
    def run(self) -> RunOfEvent | None: ...


Message = TypeVar("Message", bound=EventMessage, default=Event)


class EventRecorder(Generic[Message]):
    """A sync handler that keeps what it is told, in the event loop's thread."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._watch = Watch()

    def __call__(self, message: Message) -> None:
        self.messages.append(message)
        self._watch.changed()

    def of(self, event: str, run_id: str | None = None) -> list[Message]:
        """The messages of an event, in the order they came; of one run, if it is named."""
        return [
            message
            for message in self.messages
            if message.name == event and run_id in (None, message.run and message.run.id)
        ]

    def names(self, run_id: str) -> list[str]:
        """The events of a run, in the order they came."""
        return [message.name for message in self.messages if message.run and message.run.id == run_id]

    async def wait_for(self, event: str, run_id: str | None = None, count: int = 1) -> Message:
        """The `count`th message of an event (of one run), once it has come."""
        await self._watch.until(
            lambda: len(self.of(event, run_id)) >= count,
            lambda: (
                f"{event!r} number {count} of {run_id or 'any run'}; came: {[m.name for m in self.messages]}"
            ),
        )
        return self.of(event, run_id)[count - 1]
