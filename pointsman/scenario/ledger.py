"""The ledger of a run, its shards read as one: one row per planned dispatch, or per attempt and SKU."""

from __future__ import annotations

import polars as pl

from pointsman.dispatch import scan_attempts, scan_dispatches
from pointsman.scenario.model import Scenario
from pointsman.scenario.record import RunRecord, run_drives
from pointsman.workspace import Workspace


def scan_ledger(ws: Workspace, record: RunRecord) -> pl.LazyFrame:
    """The rows of `read_dispatches` of every drive of the run, so that only what a figure needs is ever loaded.

    In order of `seq` within each shard. Raises `NotFound` before all of them are closed.
    """
    return pl.concat([scan_dispatches(drive_dir) for drive_dir in run_drives(ws, record)])


def counted(scenario: Scenario) -> pl.Expr:
    """The rows that percentiles of a whole run are made of: those of warm-up stages are not."""
    return ~pl.col("stage").is_in(sorted(scenario.warm_up))


def scan_run_attempts(ws: Workspace, record: RunRecord) -> pl.LazyFrame:
    """The rows of `read_attempts` of every drive. Raises `NotFound` before all of them are closed."""
    return pl.concat([scan_attempts(drive_dir) for drive_dir in run_drives(ws, record)])


def run_attempts(ws: Workspace, record: RunRecord) -> pl.DataFrame:
    """All of them. Raises `NotFound` before all drives of the run are closed."""
    return scan_run_attempts(ws, record).collect()
