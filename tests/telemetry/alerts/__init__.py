"""Tests of the alerts: who is told of what, once, and what that may not harm."""
