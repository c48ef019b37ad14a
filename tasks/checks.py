"""Tasks that guard the hand-overs between steps: a failing data check stops the chain and says which rows and why."""

from __future__ import annotations

import polars as pl
from prefect import task

from pointsman import checks
from pointsman.actions import ActionLog
from pointsman.decision import load_tests_of
from pointsman.errors import DataCheckFailed
from pointsman.quality import evaluation_set
from pointsman.scenario import read_run, scan_ledger
from pointsman.settings import load_settings
from tasks.opening import open_workspace
from tasks.policies import ONCE
from tasks.recording import record_report


def read_own_rules() -> None:
    """Refuse rules of one's own that are none before anything is sent, not when the data is there to be checked."""
    checks.own_rules(checks.own_folder(load_settings()))


def _guard(suite: str, frame: pl.DataFrame, run_id: str) -> None:
    try:
        checks.ensure(suite, frame, ActionLog(open_workspace()), run_id, checks.own_folder(load_settings()))
    except DataCheckFailed as failed:
        found = failed.data["report"]
        assert isinstance(found, checks.CheckReport)
        record_report("data-check", checks.check_report(found))
        raise


@task(name="check-ledger", **ONCE)
def check_ledger(run_id: str) -> None:
    ws = open_workspace()
    rows = scan_ledger(ws, read_run(ws, run_id))
    _guard("ledger", checks.ledger_frame(rows, checks.own_folder(load_settings())), run_id)


@task(name="check-run-items", **ONCE)
def check_run_items(bm_id: str) -> None:
    _guard("run_items", checks.run_items_frame(open_workspace(), bm_id), bm_id)


@task(name="check-evaluations", **ONCE)
def check_evaluations(set_id: str) -> None:
    """A set that was given up holds what was judged until then, and nothing is concluded from it."""
    ws = open_workspace()
    if evaluation_set(ws, set_id).status != "abandoned":
        _guard("evaluations", checks.evaluations_frame(ws, set_id), set_id)


@task(name="check-price-book", **ONCE)
def check_price_book(book_sha256: str) -> None:
    _guard("price_book", checks.price_book_frame(open_workspace(), book_sha256), book_sha256)


def check_measured(bm_id: str) -> None:
    """Whatever a decision reads that was measured: each completed load test beside the matrix, and its cells."""
    for tests in load_tests_of(open_workspace(), bm_id).values():
        for run_id, status in tests.items():
            if status == "completed":
                check_ledger(run_id)
    check_run_items(bm_id)
