"""The words of the OpenTelemetry messaging conventions, and ours beside them."""

from __future__ import annotations

from opentelemetry.semconv._incubating.attributes import messaging_attributes as messaging
from opentelemetry.semconv.attributes import error_attributes, exception_attributes, server_attributes
from opentelemetry.semconv.schemas import Schemas

from fluid.errors import FluidError
from fluid.scheduler import EVENTS

SCHEMA_URL = Schemas.V1_44_0.value
"""The release of the conventions that the names here are of."""

SYSTEM = messaging.MESSAGING_SYSTEM
OPERATION_NAME = messaging.MESSAGING_OPERATION_NAME
OPERATION_TYPE = messaging.MESSAGING_OPERATION_TYPE
DESTINATION = messaging.MESSAGING_DESTINATION_NAME
MESSAGE_ID = messaging.MESSAGING_MESSAGE_ID
CONVERSATION_ID = messaging.MESSAGING_MESSAGE_CONVERSATION_ID
CONSUMER_GROUP = messaging.MESSAGING_CONSUMER_GROUP_NAME
CLIENT_ID = messaging.MESSAGING_CLIENT_ID
BATCH_COUNT = messaging.MESSAGING_BATCH_MESSAGE_COUNT
SERVER_ADDRESS = server_attributes.SERVER_ADDRESS
SERVER_PORT = server_attributes.SERVER_PORT
ERROR_TYPE = error_attributes.ERROR_TYPE
EXCEPTION_TYPE = exception_attributes.EXCEPTION_TYPE
EXCEPTION_MESSAGE = exception_attributes.EXCEPTION_MESSAGE
EXCEPTION_STACKTRACE = exception_attributes.EXCEPTION_STACKTRACE

TASK = "fluid.task"
RUN = "fluid.run_id"
"""Of a body that is run here; a run that was queued has a message id."""
PRIORITY = "fluid.priority"
ATTEMPT = "fluid.attempt"
FROM_RUN = "fluid.from_run_id"
REASON = "fluid.reason"
"""The same word as the label `reason` of the metrics."""
OWNER = "fluid.owner"
"""The consumer that a lost run had."""
LINK = "fluid.link"
"""On a link: `previous_attempt`, where it does not lead to the context that the run was queued in."""

REASONS = frozenset(EVENTS["failure"].reasons) | frozenset(EVENTS["aborted"].reasons)


def error_type(error: BaseException) -> str:
    """The class of an error, with its module unless it is a builtin one."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def reason_of(error: BaseException) -> str:
    """The reason word that metrics, logs and the run's record have for this error."""
    return error.reason if isinstance(error, FluidError) and error.reason in REASONS else "error"


def message_of(error: BaseException) -> str:
    """What an error says."""
    try:
        return printable(str(error))
    except Exception:  # noqa: BLE001 - an error that cannot say what it is has a class at least
        return ""


def printable(text: str) -> str:
    """The text as UTF-8 can hold it: one lone surrogate would keep a whole batch from being sent."""
    return text.encode("utf-8", "backslashreplace").decode()
