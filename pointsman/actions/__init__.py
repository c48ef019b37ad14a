"""What an operator should know: the catalogue of events, and the log of those that happened."""

from pointsman.actions.catalogue import CATALOGUE, EventType, Severity, event_type
from pointsman.actions.log import ActionEntry, ActionLog

__all__ = ["CATALOGUE", "ActionEntry", "ActionLog", "EventType", "Severity", "event_type"]
