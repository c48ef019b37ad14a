"""What an operator should know: the catalogue of events, the log of those that happened, and the sinks they reach."""

from pointsman.actions.catalogue import CATALOGUE, EventType, Severity, event_type
from pointsman.actions.courier import Courier
from pointsman.actions.log import ActionEntry, ActionLog
from pointsman.actions.outbox import Delivery, deliver, list_sinks, remove_sink, save_sink
from pointsman.actions.sinks import EventSink, JsonLinesSink, SinkEvent, SinkSpec, parse_sink

__all__ = [
    "CATALOGUE",
    "ActionEntry",
    "ActionLog",
    "Courier",
    "Delivery",
    "EventSink",
    "EventType",
    "JsonLinesSink",
    "Severity",
    "SinkEvent",
    "SinkSpec",
    "deliver",
    "event_type",
    "list_sinks",
    "parse_sink",
    "remove_sink",
    "save_sink",
]
