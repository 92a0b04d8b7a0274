"""People are told of what goes wrong, once for the whole fleet, and of its end."""

from __future__ import annotations

from telemetry.alerts.channels.alertmanager import Alertmanager
from telemetry.alerts.channels.apprise import Apprise
from telemetry.alerts.channels.webhook import Webhook
from telemetry.alerts.conditions import USUAL_CONDITIONS, Condition
from telemetry.alerts.config import Alerts

__all__ = ["USUAL_CONDITIONS", "Alertmanager", "Alerts", "Apprise", "Condition", "Webhook"]
