"""Background agents that keep the queue in order: one job each."""
