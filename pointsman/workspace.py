"""What every engine function works in: the state of record, the results store, the clock and who is acting."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import sqlalchemy as sa

from pointsman.clock import Clock, SystemClock
from pointsman.settings import Settings
from pointsman.storage import LocalResults, Spooled, open_database, open_results


@dataclass(frozen=True, slots=True)
class Workspace:
    database: sa.Engine
    results: LocalResults
    clock: Clock
    actor: str

    @classmethod
    def open(cls, settings: Settings, *, actor: str, clock: Clock | None = None) -> Workspace:
        """Open (and migrate) what `settings` names. Raises `InputRefused` or `DependencyDown`."""
        clock = clock or SystemClock()

        def on_spooled(spooled: Spooled) -> None:
            # Whoever writes a file may be within a transaction, which another one would wait for.
            threading.Thread(target=_tell, args=(ws, spooled), name="spooled").start()

        ws = cls(
            database=open_database(settings.database_url),
            results=open_results(
                settings.results_uri, working=settings.home / "s3", clock=clock, on_spooled=on_spooled
            ),
            clock=clock,
            actor=actor,
        )
        return ws


def _tell(ws: Workspace, spooled: Spooled) -> None:
    from pointsman.actions import ActionLog  # which works in a workspace itself

    ActionLog(ws).record("result_upload_spooled", files=spooled.files, why=spooled.why.message, code=spooled.why.code)
