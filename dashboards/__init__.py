"""What Grafana and Prometheus are given: generated when we develop, shipped as data of `telemetry`."""
