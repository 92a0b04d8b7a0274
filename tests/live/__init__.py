"""The live matrix: a fault, and the alerts that come of it through Prometheus and Alertmanager."""
