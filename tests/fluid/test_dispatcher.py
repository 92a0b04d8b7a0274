"""Who is told what, and that a handler in trouble harms nobody else."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import pytest

from fluid.dispatcher import AsyncDispatcher, Dispatcher, HandlerName
from fluid.errors import DeclarationError, DuplicateHandlerError, UnknownEventError
from fluid.testing import ManualClock

Heard = list[tuple[str, str]]


def hearing(heard: Heard, who: str) -> Callable[[str], None]:
    return lambda message: heard.append((who, message))


def raising(error: BaseException) -> Callable[[str], None]:
    def handler(message: str) -> None:
        raise error

    return handler


@pytest.mark.parametrize(
    ("registration", "parsed"),
    [
        ("failure", HandlerName("failure", "")),
        ("failure.pager", HandlerName("failure", "pager")),
        ("failure.pager.eu", HandlerName("failure", "pager.eu")),
        ("*.audit", HandlerName("*", "audit")),
    ],
)
def test_what_follows_the_first_dot_names_the_handler(registration: str, parsed: HandlerName) -> None:
    assert HandlerName.parse(registration) == parsed
    assert str(parsed) == registration


def test_handlers_of_an_event_are_told_in_the_order_of_their_registration() -> None:
    heard: Heard = []
    dispatcher = Dispatcher[str]()
    for registration in ("end.b", "*.everything", "end", "end.a"):
        dispatcher.register_handler(registration, hearing(heard, registration))
    dispatcher.dispatch("end", "m")
    assert heard == [("end.b", "m"), ("*.everything", "m"), ("end", "m"), ("end.a", "m")]


def test_a_handler_hears_only_its_event_and_one_of_everything_hears_all() -> None:
    heard: Heard = []
    dispatcher = Dispatcher[str]()
    dispatcher.register_handler("start", hearing(heard, "start"))
    dispatcher.register_handler("*", hearing(heard, "*"))
    dispatcher.dispatch("start", "1")
    dispatcher.dispatch("end", "2")
    assert heard == [("start", "1"), ("*", "1"), ("*", "2")]


def test_the_same_event_and_name_twice_is_refused_naming_both() -> None:
    dispatcher = Dispatcher[str]()
    dispatcher.register_handler("failure.pager", hearing([], "first"))
    with pytest.raises(DuplicateHandlerError, match=r"'failure'.*'pager'"):
        dispatcher.register_handler("failure.pager", hearing([], "second"))


def test_an_event_outside_the_known_ones_is_refused_with_its_near_matches() -> None:
    dispatcher = Dispatcher[str](events=["failure", "success", "start"])
    with pytest.raises(UnknownEventError, match=r"'faliure'.*did you mean 'failure'\?"):
        dispatcher.register_handler("faliure.pager", hearing([], "x"))
    with pytest.raises(UnknownEventError, match="there are failure, start, success"):
        dispatcher.register_handler("zzz", hearing([], "x"))


def test_everything_can_be_registered_for_among_known_events() -> None:
    dispatcher = Dispatcher[str](events=["failure"])
    dispatcher.register_handler("*", hearing([], "x"))
    assert dispatcher.wants("failure")


@pytest.mark.parametrize("registration", ["", ".pager"])
def test_a_registration_without_an_event_is_refused(registration: str) -> None:
    with pytest.raises(UnknownEventError):
        Dispatcher[str]().register_handler(registration, hearing([], "x"))


def test_an_unregistered_handler_is_given_back_and_hears_nothing_more() -> None:
    heard: Heard = []
    dispatcher = Dispatcher[str]()
    handler = hearing(heard, "x")
    dispatcher.register_handler("end.x", handler)
    assert dispatcher.unregister_handler("end.x") is handler
    dispatcher.dispatch("end", "m")
    assert heard == []
    assert not dispatcher.wants("end")


def test_unregistering_nobody_answers_none() -> None:
    assert Dispatcher[str](events=["end"]).unregister_handler("end.x") is None


def test_an_event_is_wanted_when_somebody_would_be_told() -> None:
    dispatcher = Dispatcher[str]()
    assert not dispatcher.wants("end")
    dispatcher.register_handler("end.x", hearing([], "x"))
    assert dispatcher.wants("end")
    assert not dispatcher.wants("start")
    dispatcher.register_handler("*", hearing([], "x"))
    assert dispatcher.wants("start")


@pytest.mark.parametrize("error", [ValueError("no"), asyncio.CancelledError("looked at a cancelled future")])
def test_a_raising_handler_is_logged_and_reported_and_the_others_go_on(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    heard: Heard = []
    reported: list[tuple[str, str, BaseException]] = []
    dispatcher = Dispatcher[str](on_failure=lambda *failure: reported.append(failure))
    dispatcher.register_handler("*.bad", raising(error))
    dispatcher.register_handler("end.good", hearing(heard, "good"))
    with caplog.at_level(logging.ERROR, "fluid"):
        dispatcher.dispatch("end", "m")
    assert heard == [("good", "m")]
    assert reported == [("*", "bad", error)], "as it was registered, so that it can be recognised"
    assert "handler *.bad raised when told of end" in caplog.text


def test_a_failure_that_nobody_asked_to_hear_of_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    dispatcher = Dispatcher[str]()
    dispatcher.register_handler("end.bad", raising(ValueError("out of ink")))
    dispatcher.dispatch("end", "m")
    assert "out of ink" in caplog.text


def test_a_failure_that_cannot_be_reported_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    heard: Heard = []

    def on_failure(event: str, name: str, error: BaseException) -> None:
        raise RuntimeError("cannot report either")

    dispatcher = Dispatcher[str](on_failure=on_failure)
    dispatcher.register_handler("end.bad", raising(ValueError("no")))
    dispatcher.register_handler("end.good", hearing(heard, "good"))
    dispatcher.dispatch("end", "m")
    assert heard == [("good", "m")]
    assert "cannot report either" in caplog.text


def test_a_request_to_exit_is_not_a_failure_of_the_handler() -> None:
    dispatcher = Dispatcher[str]()
    dispatcher.register_handler("end", raising(SystemExit(3)))
    with pytest.raises(SystemExit):
        dispatcher.dispatch("end", "m")


def test_a_handler_can_be_left_out() -> None:
    heard: Heard = []
    dispatcher = Dispatcher[str]()
    dispatcher.register_handler("*.troubled", hearing(heard, "troubled"))
    dispatcher.register_handler("*.other", hearing(heard, "other"))
    dispatcher.dispatch("handler_failed", "m", but_not=HandlerName("*", "troubled"))
    assert heard == [("other", "m")]


def test_a_handler_may_unregister_itself_while_it_is_told() -> None:
    heard: Heard = []
    dispatcher = Dispatcher[str]()

    def once(message: str) -> None:
        heard.append(("once", message))
        dispatcher.unregister_handler("end.once")

    dispatcher.register_handler("end.once", once)
    dispatcher.register_handler("end.always", hearing(heard, "always"))
    dispatcher.dispatch("end", "1")
    dispatcher.dispatch("end", "2")
    assert heard == [("once", "1"), ("always", "1"), ("always", "2")]


def test_an_async_handler_is_refused_where_nobody_would_await_it() -> None:
    async def function(message: str) -> None: ...

    class Callable_:  # noqa: N801 - a callable object
        async def __call__(self, message: str) -> None: ...

    dispatcher = Dispatcher[str]()
    for handler in (function, Callable_()):
        with pytest.raises(DeclarationError, match="'end' is async"):
            dispatcher.register_handler("end", handler)  # type: ignore[arg-type] # that is the point
    assert not dispatcher.wants("end")


def test_async_handlers_are_registered_by_the_same_rules() -> None:
    async def handler(message: str) -> None: ...

    dispatcher = AsyncDispatcher[str](events=["end"])
    dispatcher.register_handler("end.x", handler)
    assert dispatcher.wants("end")
    assert dispatcher.handlers_of("end") == ((HandlerName("end", "x"), handler),)
    with pytest.raises(DuplicateHandlerError):
        dispatcher.register_handler("end.x", handler)
    with pytest.raises(UnknownEventError):
        dispatcher.register_handler("ende", handler)
    assert dispatcher.unregister_handler("end.x") is handler
    assert not dispatcher.wants("end")


# -- one that keeps raising ----------------------------------------------------------------


class Moody:
    """A handler that raises while it is in a bad mood."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.good = False

    def __call__(self, message: str) -> None:
        self.told.append(message)
        if not self.good:
            raise ValueError("out of ink")


def flood(dispatcher: Dispatcher[str], count: int) -> None:
    for number in range(count):
        dispatcher.dispatch("end", str(number))


def test_a_handler_that_keeps_raising_is_paused_and_what_it_misses_is_counted() -> None:
    clock, moody, dropped, heard = ManualClock(), Moody(), list[tuple[str, str]](), Heard()
    dispatcher = Dispatcher[str](on_dropped=lambda *handler: dropped.append(handler), clock=clock)
    dispatcher.register_handler("end.moody", moody)
    dispatcher.register_handler("end.other", hearing(heard, "other"))
    flood(dispatcher, 100)
    assert (len(moody.told), len(heard)) == (5, 100)
    (trouble,) = dispatcher.troubles().values()
    assert (trouble.failures, trouble.dropped, trouble.paused) == (5, 95, True)
    assert dropped == [("end", "moody")] * 95


def test_a_paused_handler_is_tried_after_longer_and_longer_pauses_and_comes_back() -> None:
    clock, moody = ManualClock(), Moody()
    dispatcher = Dispatcher[str](clock=clock)
    dispatcher.register_handler("end", moody)
    flood(dispatcher, 6)
    clock.advance(1.0)
    flood(dispatcher, 10)
    assert len(moody.told) == 6, "one call tells whether to go on"
    clock.advance(1.5)
    flood(dispatcher, 10)
    assert len(moody.told) == 6, "the second pause is longer"
    clock.advance(0.5)
    moody.good = True
    flood(dispatcher, 10)
    assert len(moody.told) == 16
    (trouble,) = dispatcher.troubles().values()
    assert not trouble.paused


def test_one_success_of_a_sync_handler_forgives_the_failures_before() -> None:
    moody = Moody()
    dispatcher = Dispatcher[str](clock=ManualClock())
    dispatcher.register_handler("end", moody)
    for number in range(20):
        moody.good = number % 4 == 3
        dispatcher.dispatch("end", str(number))
    assert len(moody.told) == 20


def test_a_handler_that_is_registered_anew_begins_with_a_clean_slate() -> None:
    moody = Moody()
    dispatcher = Dispatcher[str](clock=ManualClock())
    dispatcher.register_handler("end", moody)
    flood(dispatcher, 6)
    dispatcher.unregister_handler("end")
    assert not dispatcher.troubles()
    dispatcher.register_handler("end", moody)
    flood(dispatcher, 1)
    assert len(moody.told) == 6
