"""The files that a run leaves for people and for other tools, beside its ledger."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from pointsman.model import Missing
from pointsman.reporting import Report, TestCase, to_html, to_junit
from pointsman.scenario.assessment import Check, assess
from pointsman.scenario.k6_summary import k6_summary
from pointsman.scenario.provenance import provenance
from pointsman.scenario.record import RunRecord, read_run, run_scenario
from pointsman.scenario.report import build_report, read_controls, read_series
from pointsman.scenario.series import RunSeries
from pointsman.scenario.status import run_status
from pointsman.storage import StoredFile
from pointsman.workspace import Workspace

PAGE, K6, JUNIT = "report.html", "k6-summary.json", "junit.xml"


@dataclass(frozen=True, slots=True)
class Published:
    """The report of a run, and the files in the run's results: by name."""

    report: Report
    files: dict[str, StoredFile]


def publish_report(ws: Workspace, run_id: str) -> Published:
    """Write `report.html`, `k6-summary.json` and `junit.xml` into the run's results. Again overwrites them.

    Raises `NotFound`.
    """
    record = read_run(ws, run_id)
    if record.ended:
        ws.results.pull(record.results_path)
    scenario, status = run_scenario(ws, record), run_status(ws, run_id)
    series = read_series(ws, record, scenario)
    report = build_report(record, scenario, status, series, read_controls(ws, record, scenario))
    checks = assess(status, record.metrics_json)
    summary = k6_summary(scenario, status["counts"], series, checks)
    contents = {
        PAGE: to_html([report], report.title),
        K6: json.dumps(summary, indent=4, sort_keys=True) + "\n",
        JUNIT: _junit(record, checks, series),
    }
    return Published(
        report,
        {name: ws.results.write(f"{record.results_path}/{name}", text.encode()) for name, text in contents.items()},
    )


def _junit(record: RunRecord, checks: Sequence[Check], series: RunSeries | Missing) -> str:
    origin = provenance()
    cases = [
        TestCase(
            check.group,
            check.name,
            failure=f"{check.asked}; found: {check.found}" if check.verdict == "failed" else None,
            skipped=check.found if check.verdict == "not measured" else None,
        )
        for check in checks
    ]
    return to_junit(
        cases,
        suite=record.context,
        package=f"pointsman.{record.scenario_id}",
        at=record.started_at or record.created_at,
        host=str(origin["host"]),
        seconds=0.0 if isinstance(series, Missing) else series.until_s,
        about={
            "run": record.id,
            "variant": record.variant_id,
            "environment": record.environment_id,
            "seed": str(record.seed),
            "tool_version": str(origin["tool_version"]),
            "git_sha": str(origin["git_sha"] or origin["missing"]["git_sha"]),
        },
    )
