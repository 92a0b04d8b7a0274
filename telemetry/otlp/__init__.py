"""OTLP over HTTP: spans and log records as bytes, and the way they take to a receiver.

It is written for one kind of caller, `telemetry.sending`, that has a thread for it. What it says is what the
exporter of OpenTelemetry says; it does not go through protobuf's messages, which take several times as long.
"""
