"""The files a run leaves: a page, a summary as k6 writes it, and JUnit XML; and the verdicts that all three hold."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from pointsman.reporting import ARTIFACT_LIMIT_BYTES, Chart, Table, Text, to_markdown
from pointsman.scenario import Fault, Scenario, Stage, cancel_run, publish_report, read_run, run_folder, run_status
from pointsman.scenario.assessment import assess
from pointsman.workspace import Workspace
from tests.scenario.fake_engine import plan
from tests.scenario.ledgers import EPOCH, ended_run

SCENARIO = Scenario(
    name="phase01-fault",
    stages=(Stage(name="steady", rate=10, duration_s=60), Stage(name="storm", rate=10, duration_s=60)),
)
SLOS: dict[str, Any] = {
    "slos": [
        {"condition": "p95 total_ms < 5000 over 30s", "verdict": "held", "worst": "1260 ms", "worst_at_s": 71},
        {"condition": "failure_rate < 1%", "verdict": "breached", "worst": "4.1 %", "worst_at_s": 90},
    ],
    "stop_conditions": [
        {
            "condition": "unhealthy targets >= 1 for 5m",
            "verdict": "not judged",
            "worst": None,
            "worst_at_s": None,
            "missing": {"worst": "the environment names no target group", "worst_at_s": "likewise"},
        }
    ],
}
FAULT: dict[str, Any] = {
    "method": "fis",
    "fis_experiment_arn": "arn:aws:fis:x",
    "target_instance_ids": ["i-0123456789abcdef0"],
    "state": "completed",
    "verdict": "happened",
    "reason": "",
    "started_at": (EPOCH + timedelta(seconds=70)).isoformat(),
    "ended_at": (EPOCH + timedelta(seconds=90)).isoformat(),
    "effect": {
        "effective": True,
        "control": {"from_s": 40.0, "to_s": 68.0, "dispatches": 90, "p95_ms": 1200.0, "failure_rate": 0.0},
        "during": {"from_s": 70.0, "to_s": 90.0, "dispatches": 60, "p95_ms": 1620.5, "failure_rate": None},
        "p95_delta_ms": {"value": 420.5, "low": 300.0, "high": 600.0},
        "failure_rate_delta": None,
        "time_to_detection_s": 3.5,
        "time_to_recovery_s": None,
        "missing": {"failure_rate_delta": "no dispatch was planned", "time_to_recovery_s": "the stage ended before"},
    },
}


def with_fault(ws: Workspace, fault: dict[str, Any], **more: Any) -> None:
    ended_run(ws, SCENARIO, metrics={**SLOS, **more})
    from pointsman.storage import tables  # the row of an ended run changes for nobody but a test

    record = read_run(ws, "run1")
    metrics = json.loads(json.dumps(dict(record.metrics_json)))
    metrics["stages"][1]["fault"] = fault
    with ws.database.begin() as connection:
        connection.execute(tables.load_test_runs.update().values(metrics_json=metrics))


def files(ws: Workspace, run_id: str = "run1") -> dict[str, str]:
    publish_report(ws, run_id)
    folder = run_folder(ws, read_run(ws, run_id))
    return {name: (folder / name).read_text() for name in ("report.html", "k6-summary.json", "junit.xml")}


def verdicts(ws: Workspace, run_id: str = "run1") -> dict[str, str]:
    return {check.name: check.verdict for check in assess(run_status(ws, run_id), read_run(ws, run_id).metrics_json)}


def test_the_report_draws_the_run_over_time_with_its_fault_and_shows_every_verdict(ws: Workspace) -> None:
    with_fault(ws, FAULT)
    report = publish_report(ws, "run1").report
    charts = {section.title: section for section in report.sections if isinstance(section, Chart)}
    assert list(charts) == ["Rate", "Latency", "In flight", "Lateness of sending"]
    for title in ("Rate", "Latency", "In flight"):
        assert "fault: storm" in charts[title].svg
        assert "steady" in charts[title].svg
    assert "p95 from sending" in charts["Latency"].svg
    tables = {section.title: section for section in report.sections if isinstance(section, Table)}
    assert [row[1] for row in tables["Verdicts"].rows].count("✗ failed") == 2  # a lost rate and a breached SLO
    (fault,) = tables["Faults"].rows
    assert fault[1] == "+420 ms (+300 to +600)"
    assert str(fault[2]) == "not measured (no dispatch was planned)"
    assert tables["Faults"].columns[1] == "p95 delta (97.5 % interval)"
    said = next(section.markdown for section in report.sections if isinstance(section, Text))
    assert said == (
        "storm: p95 was 1,620 ms while its fault lasted (20.0 s) and 1,200 ms before: worse than before by more than "
        "chance makes likely."
    )
    assert len(to_markdown(report).encode()) < ARTIFACT_LIMIT_BYTES
    assert r"Not so: the planned rate was kept; failure_rate \< 1%" in report.summary.replace("&lt;", r"\<")


@pytest.mark.parametrize("slower_ms", [0, 4000])
def test_a_control_shows_where_its_fault_would_have_been_and_what_was_measured_there(
    ws: Workspace, slower_ms: int
) -> None:
    fault = Fault(fault_enabled=False, template="none", offset_s=30, duration_s=15)
    control = Scenario(name="control", stages=(Stage(name="calm", rate=5, duration_s=60, fault=fault),))
    due_s = np.arange(300) / 5
    took = np.random.default_rng(1).gamma(8, 25.0, due_s.size) + np.where((due_s >= 30) & (due_s < 45), slower_ms, 0)
    ended_run(ws, control, took_ms=took, state=["completed"] * due_s.size)
    report = publish_report(ws, "run1").report
    charts = {section.title: section for section in report.sections if isinstance(section, Chart)}
    for title in ("Rate", "Latency", "In flight"):
        assert "control, no fault: calm" in charts[title].svg
        assert "Orange" not in charts[title].caption
    (row,) = next(one.rows for one in report.sections if isinstance(one, Table) and one.title == "Faults")
    assert (row[0], *row[5:]) == ("calm", "none: a control", "none")
    assert re.fullmatch(r"[+-][\d,]+ ms \([+-][\d,]+ to [+-][\d,]+\)", str(row[1]))
    said = next(section.markdown for section in report.sections if isinstance(section, Text))
    assert "in the 15.0 s in which its fault would have been, had it been enabled," in said
    assert ("no difference is shown" in said) == (slower_ms == 0)


def test_the_page_stands_alone_and_is_the_same_each_time(ws: Workspace) -> None:
    with_fault(ws, FAULT)
    first = files(ws)
    assert files(ws) == first
    assert set(re.findall(r'(?:src|href)="([a-z]+):', first["report.html"])) == {"data"}
    assert "<script" not in first["report.html"]
    assert first["report.html"].count("Load: fast@cpu") == 2  # the title and one heading


def test_a_run_with_everything_at_once_still_fits_into_an_artifact(ws: Workspace) -> None:
    stages = tuple(Stage(name=f"stage-{n:03d}", rate=20, duration_s=5) for n in range(100))
    gaps = [
        {"shard": 0, "after_s": 7.0 * n, "resumed_s": 7.0 * n + 3, "first_seq": n, "unsettled": 1} for n in range(60)
    ]
    ended_run(ws, Scenario(name="all", stages=stages), metrics={**SLOS, "interruptions": gaps})
    text = to_markdown(publish_report(ws, "run1").report)
    assert len(text.encode()) < ARTIFACT_LIMIT_BYTES
    assert "left out" not in text
    assert "| stage-099 |" in text


def test_verdicts_say_what_was_found_and_what_was_not_measured_why(ws: Workspace) -> None:
    unborn = {
        **FAULT,
        "state": None,
        "verdict": "not_happened",
        "reason": "the safety lever is engaged",
        "effect": None,
        "started_at": None,
        "ended_at": None,
        "missing": {"effect": "the fault did not run to its end", "state": "no experiment was started"},
    }
    with_fault(ws, unborn)
    found = verdicts(ws)
    assert found == {
        "the run completed": "passed",
        "no dispatch is lost": "passed",
        "the planned rate was kept": "failed",
        "dispatches left on time": "passed",
        "p95 total_ms < 5000 over 30s": "passed",
        "failure_rate < 1%": "failed",
        "unhealthy targets >= 1 for 5m": "not measured",
        "the fault of stage storm had an effect": "failed",
    }
    page = files(ws)["report.html"]
    assert "not measured (the fault did not run to its end)" in page
    assert "its experiment is not started; the safety lever is engaged" in page
    status = run_status(ws, "run1")
    for verdict, missing in ((None, {"verdict": "the fault has not ended"}), ("withdrawn", {})):
        open_one = {**FAULT, "verdict": verdict, "effect": None, "missing": missing}
        stages = [status["stages"][0], {**status["stages"][1], "fault": open_one}]
        assert assess({**status, "stages": stages}, {})[-1].verdict == "not measured"


def test_a_late_driver_a_lost_row_and_a_cancelled_run_fail_their_checks(ws: Workspace) -> None:
    n = 1_200
    late = np.where(np.arange(n) % 20 == 0, 80_000_000, 0)
    ended_run(ws, SCENARIO, lateness_ns=late, state=np.full(n, "completed"))
    assert verdicts(ws)["dispatches left on time"] == "failed"
    status = run_status(ws, "run1")
    broken = {**status, "counts": {**status["counts"], "completed": 3}}
    found = {check.name: check for check in assess(broken, {})}
    assert found["no dispatch is lost"].verdict == "failed"
    assert "its parts add up to 3" in found["no dispatch is lost"].found
    plan(ws, "run2", scenario=SCENARIO)
    assert verdicts(ws, "run2")["the run completed"] == "not measured"
    cancel_run(ws, "run2", reason="enough seen")
    ended = {check.name: check for check in assess(run_status(ws, "run2"), {})}
    assert ended["the run completed"].verdict == "failed"
    assert "stopped by tester" in ended["the run completed"].found


def test_the_summary_has_the_structure_that_k6_exports(ws: Workspace) -> None:
    with_fault(ws, FAULT)
    summary = json.loads(files(ws)["k6-summary.json"])
    assert set(summary) == {"metrics", "root_group"}
    kinds = {
        frozenset({"count", "rate"}): {"http_reqs", "iterations", "dropped_iterations"},
        frozenset({"passes", "fails", "value"}): {"http_req_failed", "checks"},
        frozenset({"value", "min", "max"}): {"vus", "vus_max"},
        frozenset({"avg", "min", "med", "max", "p(90)", "p(95)", "p(99)"}): {
            *("http_req_duration", "iteration_duration"),
            *("job_total_ms", "job_queue_ms", "job_run_ms", "job_lateness_ms"),
        },
    }
    assert {name: frozenset(metric) for name, metric in summary["metrics"].items()} == {
        name: fields for fields, names in kinds.items() for name in names
    }
    for metric in summary["metrics"].values():
        assert all(isinstance(value, int | float) for value in metric.values())
    root = summary["root_group"]
    assert (root["name"], root["path"], root["id"]) == ("", "", "d41d8cd98f00b204e9800998ecf8427e")
    for name, check in root["checks"].items():
        assert check["name"] == name
        assert check["path"] == f"::{name}"
        assert check["passes"] + check["fails"] == 1
    counts = run_status(ws, "run1")["counts"]
    assert summary["metrics"]["http_reqs"]["count"] == counts["sent"]
    assert summary["metrics"]["http_req_failed"]["passes"] == counts["failed"]
    assert summary["metrics"]["checks"]["fails"] == 2
    total, raw = (summary["metrics"][name]["p(95)"] for name in ("job_total_ms", "http_req_duration"))
    assert total > raw


def test_the_summary_of_a_run_without_a_ledger_holds_its_checks_only(ws: Workspace) -> None:
    plan(ws)
    summary = json.loads(files(ws)["k6-summary.json"])
    assert set(summary["metrics"]) == {"checks"}


def test_junit_has_a_case_per_check_and_keeps_to_both_schemas(ws: Workspace) -> None:
    with_fault(ws, FAULT)
    root = ET.fromstring(files(ws)["junit.xml"])
    assert root.tag == "testsuites"
    (suite,) = root
    assert set(suite.attrib) == {
        *("id", "name", "package", "timestamp", "hostname", "tests", "failures", "errors", "skipped", "time")
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.attrib["timestamp"])
    assert [child.tag for child in suite] == ["properties", *["testcase"] * 8]
    assert {one.attrib["name"] for one in suite[0]} >= {"run", "variant", "seed", "git_sha"}
    cases = list(suite)[1:]
    for case in cases:
        assert set(case.attrib) == {"name", "classname", "time"}
        assert {child.tag for child in case} <= {"failure", "skipped"}
        assert len(case) <= 1
        for failure in case.iter("failure"):
            assert set(failure.attrib) == {"message", "type"}
    assert (suite.attrib["tests"], suite.attrib["failures"], suite.attrib["skipped"]) == ("8", "2", "1")
    failed = {case.attrib["name"] for case in cases if case.find("failure") is not None}
    assert failed == {"the planned rate was kept", "failure_rate < 1%"}


@pytest.mark.parametrize("text", ["a\x00b\x1b[31m", "\ud800", "<&>\"'", "\ufffe"])
def test_whatever_a_failure_says_the_document_stays_xml(ws: Workspace, text: str) -> None:
    from pointsman.reporting import TestCase, to_junit

    document = to_junit(
        [TestCase("slo", text, failure=text)],
        suite=text,
        package="p",
        at=EPOCH,
        host=text,
        seconds=1.5,
        about={"why": text},  # type: ignore[arg-type]
    )
    assert ET.fromstring(document.encode()).find("testsuite/testcase/failure") is not None
