"""The ledger of a run: one row per planned dispatch, read lazily, so that only what a figure needs is ever loaded."""

from __future__ import annotations

import polars as pl

from pointsman.dispatch import scan_dispatches
from pointsman.scenario.record import RunRecord, run_folder
from pointsman.workspace import Workspace


def scan_ledger(ws: Workspace, record: RunRecord) -> pl.LazyFrame:
    """The rows of `read_dispatches` of every drive of the run. Raises `NotFound` before all of them are closed."""
    return scan_dispatches(run_folder(ws, record))
