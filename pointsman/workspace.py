"""What every engine function works in: the state of record, the results store, the clock and who is acting."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from pointsman.clock import Clock, SystemClock
from pointsman.settings import Settings
from pointsman.storage import LocalResults, open_database


@dataclass(frozen=True, slots=True)
class Workspace:
    database: sa.Engine
    results: LocalResults
    clock: Clock
    actor: str

    @classmethod
    def open(cls, settings: Settings, *, actor: str, clock: Clock | None = None) -> Workspace:
        """Open (and migrate) what `settings` names. Raises `InputRefused` or `DependencyDown`."""
        return cls(
            database=open_database(settings.database_url),
            results=LocalResults.from_uri(settings.results_uri),
            clock=clock or SystemClock(),
            actor=actor,
        )
