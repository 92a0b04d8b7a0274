"""Tests of what is sent by OTLP: that it can be read, and how it is sent."""
