"""What the release that we keep to says of the spans that we make: written by hand, from the published model.

It is held against the model itself wherever that is at hand (see `MODEL_FOLDER`), and its names are the
constants of the package `opentelemetry-semantic-conventions`, which is made from the same model.
"""

from __future__ import annotations

import os
from pathlib import Path

from opentelemetry.semconv._incubating.attributes import messaging_attributes as messaging
from opentelemetry.semconv._incubating.attributes import network_attributes as network
from opentelemetry.semconv.attributes import error_attributes, exception_attributes, server_attributes

from tests.telemetry.conventions.model import Attribute, Event, Model, SpanType, read_model

MODEL_FOLDER = os.environ.get("FLUID_TEST_CONVENTIONS", "")
"""Where `model/` of open-telemetry/semantic-conventions is checked out, at the release; empty for nowhere."""

NAME = "{messaging.operation.name} {destination}"

REQUIRED, CONDITIONAL, OPT_IN = "required", "conditionally_required", "opt_in"

SYSTEMS = frozenset(
    {
        *("activemq", "aws.sns", "aws_sqs", "eventgrid", "eventhubs", "servicebus", "gcp_pubsub"),
        *("jms", "kafka", "pulsar", "rabbitmq", "rocketmq"),
    }
)
"""Those that are known; others have names of their own."""

OPERATIONS = frozenset({"create", "send", "receive", "process", "settle"})

COMMON = {
    error_attributes.ERROR_TYPE: Attribute(level=CONDITIONAL, members=frozenset({"_OTHER"})),
    messaging.MESSAGING_SYSTEM: Attribute(level=REQUIRED, members=SYSTEMS),
    messaging.MESSAGING_OPERATION_NAME: Attribute(level=REQUIRED),
    messaging.MESSAGING_OPERATION_TYPE: Attribute(level=CONDITIONAL, members=OPERATIONS),
    messaging.MESSAGING_DESTINATION_NAME: Attribute(level=CONDITIONAL),
    messaging.MESSAGING_DESTINATION_TEMPLATE: Attribute(level=CONDITIONAL),
    messaging.MESSAGING_DESTINATION_PARTITION_ID: Attribute(),
    messaging.MESSAGING_MESSAGE_ID: Attribute(),
    messaging.MESSAGING_MESSAGE_CONVERSATION_ID: Attribute(),
    server_attributes.SERVER_ADDRESS: Attribute(),
    server_attributes.SERVER_PORT: Attribute("int"),
}
PEER = {
    network.NETWORK_PEER_ADDRESS: Attribute(),
    network.NETWORK_PEER_PORT: Attribute("int"),
}
SIZES = {
    messaging.MESSAGING_MESSAGE_BODY_SIZE: Attribute("int", OPT_IN),
    messaging.MESSAGING_MESSAGE_ENVELOPE_SIZE: Attribute("int", OPT_IN),
}
SEVERAL = {
    messaging.MESSAGING_BATCH_MESSAGE_COUNT: Attribute("int", CONDITIONAL),
    messaging.MESSAGING_CLIENT_ID: Attribute(),
}
EXCEPTION = {
    exception_attributes.EXCEPTION_TYPE: Attribute(level=CONDITIONAL),
    exception_attributes.EXCEPTION_MESSAGE: Attribute(level=CONDITIONAL),
    exception_attributes.EXCEPTION_STACKTRACE: Attribute(),
}

RELEASED = Model(
    schema_url="https://opentelemetry.io/schemas/1.44.0",
    registry={messaging.MESSAGING_CONSUMER_GROUP_NAME: Attribute()},
    spans={
        "messaging.create.producer": SpanType("PRODUCER", NAME, COMMON | SIZES),
        "messaging.send.producer": SpanType("PRODUCER", NAME, COMMON | PEER | SIZES | SEVERAL),
        "messaging.send.client": SpanType("CLIENT", NAME, COMMON | PEER | SIZES | SEVERAL),
        "messaging.receive.client": SpanType("CLIENT", NAME, COMMON | PEER | SIZES | SEVERAL),
        "messaging.process.consumer": SpanType("CONSUMER", NAME, COMMON | SIZES | SEVERAL),
        "messaging.settle.client": SpanType("CLIENT", NAME, COMMON | PEER | SEVERAL),
    },
    events={
        f"messaging.{operation}.exception": Event(17 if operation == "process" else 13, EXCEPTION)
        for operation in OPERATIONS
    },
)

MODEL = read_model(Path(MODEL_FOLDER)) if MODEL_FOLDER else RELEASED
"""What spans are held against: the published model, where it is at hand."""
