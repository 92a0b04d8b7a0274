"""Programs that show how it is used; each starts with `python -m examples.<name>`."""
