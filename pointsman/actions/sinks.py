"""Where events of the action log go besides the log: what a sink is, which events it gets, and one that needs nobody.

Whoever adds a sink implements `EventSink` and passes `tests/actions/sink_contract.py`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Protocol
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pointsman.actions.catalogue import CATALOGUE, SEVERITIES, Severity
from pointsman.errors import DependencyDown, InputRefused


@dataclass(frozen=True, slots=True)
class SinkEvent:
    """One event on its way out. The same event always has the same `key`, so that a receiver knows a repetition."""

    key: UUID
    event: str
    severity: Severity
    meaning: str
    at: datetime
    run_id: str | None
    context: str | None
    data: Mapping[str, Any]
    instruction: str

    def document(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "key": str(self.key),
            "event": self.event,
            "severity": self.severity,
            "meaning": self.meaning,
            "at": self.at.isoformat(),
            "run_id": self.run_id,
            "context": self.context,
            "data": dict(self.data),
            "instruction": self.instruction,
        }


class EventSink(Protocol):
    """Takes events one by one, each at least once."""

    def send(self, event: SinkEvent) -> None:
        """Hand the event over within a few seconds. Raises `DependencyDown` when it was not taken: it is sent again."""
        ...


class SinkSpec(BaseModel):
    """One sink and the events that it gets."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9-]{1,64}$", title="Name", examples=["prefect"])
    kind: Literal["prefect", "json_lines"] = Field(
        title="Kind", description="prefect: events of the Prefect server; json_lines: a file, a line for each event."
    )
    path: str | None = Field(default=None, title="File", description="Of json_lines only.", examples=["events.jsonl"])
    severity: Severity | None = Field(
        default="critical", title="From this severity on", description="Empty: only the events that are named."
    )
    events: tuple[str, ...] = Field(default=(), title="Events", description="These as well, whatever their severity.")
    enabled: bool = Field(default=True, title="Enabled", description="A sink that is not gets nothing, also not later.")

    @model_validator(mode="after")
    def _fits_together(self) -> SinkSpec:
        if (self.path is not None) != (self.kind == "json_lines"):
            raise ValueError("path: a file for json_lines, and nothing for any other kind")
        unknown = sorted(set(self.events) - set(CATALOGUE))
        if unknown:
            raise ValueError(f"events: {unknown[0]} is not an event; allowed: {', '.join(CATALOGUE)}")
        return self

    @property
    def file(self) -> Path:
        """Where json_lines writes."""
        return Path(self.path or "").absolute()

    def wants(self, event: str, severity: Severity) -> bool:
        if not self.enabled:
            return False
        at_least = self.severity is not None and SEVERITIES.index(severity) >= SEVERITIES.index(self.severity)
        return at_least or event in self.events


def parse_sink(document: Mapping[str, Any]) -> SinkSpec:
    """The sink that a document describes. Raises `InputRefused` that names the first bad field."""
    try:
        return SinkSpec.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise InputRefused(
            f"sink {field}".rstrip(), first.get("input"), first["msg"].removeprefix("Value error, ")
        ) from error


class JsonLinesSink:
    """Appends to a file: for a log shipper, or for a person with `tail -f`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def send(self, event: SinkEvent) -> None:
        line = json.dumps(event.document(), sort_keys=True) + "\n"
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(descriptor, line.encode())  # in one piece: several processes append to the same file
            finally:
                os.close(descriptor)
        except OSError as error:
            raise DependencyDown(
                f"Events cannot be written to {self._path}: {error}.",
                instruction="Make room or name another file: pointsman sinks list",
                code="sink_unreachable",
            ) from error
