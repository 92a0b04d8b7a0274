"""The messaging conventions of OpenTelemetry, and a checker that holds spans and log records against them."""
