"""Checks of whole sets of data at the hand-overs between steps, by Great Expectations."""

from pointsman.checks.engine import check, ensure, probe_rules
from pointsman.checks.frames import evaluations_frame, ledger_frame, price_book_frame, run_items_frame
from pointsman.checks.report import CheckFailure, CheckReport, check_report
from pointsman.checks.suites import SUITES, Rule, Suite, own_folder, own_rules, suite

__all__ = [
    "SUITES",
    "CheckFailure",
    "CheckReport",
    "Rule",
    "Suite",
    "check",
    "check_report",
    "ensure",
    "evaluations_frame",
    "ledger_frame",
    "own_folder",
    "own_rules",
    "price_book_frame",
    "probe_rules",
    "run_items_frame",
    "suite",
]
