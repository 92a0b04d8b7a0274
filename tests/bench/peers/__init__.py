"""The systems that are measured, each in a room that runs in an environment of its own."""
