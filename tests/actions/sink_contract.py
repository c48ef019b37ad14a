"""What every sink must do; each implementation's test brings a sink and a way to read what arrived."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from pointsman.actions import EventSink, SinkEvent

Arrived = Callable[[], list[dict[str, Any]]]


def event(**changes: Any) -> SinkEvent:
    usual: dict[str, Any] = {
        "key": uuid4(),
        "event": "budget_exceeded",
        "severity": "critical",
        "meaning": "Too dear.",
        "at": datetime.now(UTC).replace(microsecond=0),
        "run_id": str(uuid4()),
        "context": "bm_1",
        "data": {"spent_usd": "3.50", "cells": [1, 2], "why": 'quotes "and" \n lines'},
        "instruction": "pointsman benchmark show bm_1",
    }
    return SinkEvent(**{**usual, **changes})


def keeps_the_contract(sink: EventSink, arrived: Arrived) -> None:
    """Whole, in order, several at a time, with or without a run, and a repetition is known by its key."""
    first, second = event(), event(run_id=None, context=None, data={})
    sink.send(first)
    sink.send(second)
    sink.send(first)
    found = [one for one in arrived() if one["key"] in {str(first.key), str(second.key)}]
    once = list({one["key"]: one for one in found}.values())
    assert sorted(once, key=lambda one: one["key"] != str(first.key)) == [first.document(), second.document()]
