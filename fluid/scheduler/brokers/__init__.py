"""The one broker: Redis streams, on every server that speaks them."""
