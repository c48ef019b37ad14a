"""The ledger of a run, its shards read as one: one row per planned dispatch, or per attempt and SKU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl

from pointsman.dispatch import ATTEMPTS, DISPATCHES, SUMMARY, scan_attempts, scan_dispatches
from pointsman.errors import NotFound
from pointsman.scenario.model import Scenario
from pointsman.scenario.record import RunRecord, run_drives
from pointsman.storage import SharedResults
from pointsman.workspace import Workspace


def scan_ledger(ws: Workspace, record: RunRecord) -> pl.LazyFrame:
    """The rows of `read_dispatches` of every drive of the run, so that only what a figure needs is ever loaded.

    In order of `seq` within each shard. Raises `NotFound` before all of them are closed.
    """
    return pl.concat([_scan(ws, drive_dir, DISPATCHES, scan_dispatches) for drive_dir in run_drives(ws, record)])


def counted(scenario: Scenario) -> pl.Expr:
    """The rows that percentiles of a whole run are made of: those of warm-up stages are not."""
    return ~pl.col("stage").is_in(sorted(scenario.warm_up))


def scan_run_attempts(ws: Workspace, record: RunRecord) -> pl.LazyFrame:
    """The rows of `read_attempts` of every drive. Raises `NotFound` before all of them are closed."""
    return pl.concat([_scan(ws, drive_dir, ATTEMPTS, scan_attempts) for drive_dir in run_drives(ws, record)])


def _scan(ws: Workspace, drive_dir: Path, name: str, scan_here: Callable[[Path], pl.LazyFrame]) -> pl.LazyFrame:
    """Of a drive that was closed on another machine, what that brought into the results store."""
    try:
        return scan_here(drive_dir)
    except NotFound:
        if not isinstance(ws.results, SharedResults):
            raise
        folder = drive_dir.relative_to(ws.results.root).as_posix()
        if not ws.results.exists(f"{folder}/{SUMMARY}"):
            raise
        return ws.results.scan_parquet(f"{folder}/{name}-*.parquet")


def run_attempts(ws: Workspace, record: RunRecord) -> pl.DataFrame:
    """All of them. Raises `NotFound` before all drives of the run are closed."""
    return scan_run_attempts(ws, record).collect()
