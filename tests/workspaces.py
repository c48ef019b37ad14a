"""The workspace of a test: a copy of a database that was migrated once, and a clock that the test moves."""

from __future__ import annotations

import shutil
from pathlib import Path

from pointsman.clock import Clock, ManualClock
from pointsman.storage import LocalResults, open_database
from pointsman.workspace import Workspace

DATABASE = "pointsman.db"


def workspace_in(folder: Path, migrated: Path, clock: Clock | None = None) -> Workspace:
    """A workspace on its own copy of the `migrated` database, in a folder that is there."""
    shutil.copyfile(migrated, folder / DATABASE)
    database = open_database(f"sqlite:///{folder / DATABASE}", migrate=False)
    return Workspace(database, LocalResults(folder / "results"), clock or ManualClock(), "tester")
