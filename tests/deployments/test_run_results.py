"""A run's files are found by its id wherever results are kept, and told as a table that nothing in them can break."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from deployments.run_results import fetch, open_store, summary
from pointsman.errors import InputRefused, NotFound
from pointsman.reporting import TestCase, to_junit

CASES = [
    TestCase("slo", "p95 total_ms < 5000 over 30s", failure="p95 total_ms < 5000; found: 6210 | 2 windows"),
    TestCase("slo", "failure_rate < 1% over 1m"),
    TestCase("cost", "failed_spend > 5 USD", skipped="no price"),
]


def junit() -> str:
    at = datetime(2026, 1, 31, 8, tzinfo=UTC)
    return to_junit(CASES, suite="smoke", package="pointsman.smoke", at=at, host="h", seconds=10, about={})


def files() -> dict[str, bytes]:
    """Three runs of two scenarios, as engine and shards lay them out; one failed before it had a report."""
    found = {}
    for path, run_id in (
        ("dev/smoke/20260131T080000/task-1", "gh-1"),
        ("dev/smoke/20260131T090000/task-2", "gh-2"),
        ("dev/soak/20260131T080000/task-3", "gh-3"),
    ):
        totals = {"run_id": run_id, "totals": {"planned": 30, "sent": 30, "completed": 29, "failed": 1, "unknown": 0}}
        found[f"{path}/results.json"] = json.dumps(totals).encode()
    found["dev/smoke/20260131T080000/task-1/junit.xml"] = junit().encode()
    found["dev/smoke/20260131T080000/task-1/report.html"] = b"<html>"
    found["dev/smoke/20260131T080000/task-1/dispatches-0.parquet"] = b"large"
    return found


@pytest.fixture(params=["folder", "s3", "s3 with a prefix"])
def uri(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "folder":
        for name, content in files().items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(content)
        yield str(tmp_path)
        return
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    under = "team/media/" if "prefix" in request.param else ""
    with mock_aws():
        s3 = boto3.client("s3")
        s3.create_bucket(Bucket="results")
        for name, content in files().items():
            s3.put_object(Bucket="results", Key=f"{under}{name}", Body=content)
        yield f"s3://results/{under}".rstrip("/")


def test_the_run_is_found_by_its_id_and_what_people_read_is_fetched(uri: str, tmp_path: Path) -> None:
    into = tmp_path / "out"
    where = fetch(open_store(uri), environment="dev", scenario="smoke", run_id="gh-1", into=into)
    assert where == "dev/smoke/20260131T080000/task-1"
    assert {path.name for path in into.iterdir()} == {"results.json", "junit.xml", "report.html"}
    assert (into / "junit.xml").read_text() == junit()


def test_a_run_that_left_nothing_is_named(uri: str, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"gh-3.*under dev/smoke/"):
        fetch(open_store(uri), environment="dev", scenario="smoke", run_id="gh-3", into=tmp_path / "out")


def test_another_kind_of_place_is_refused() -> None:
    with pytest.raises(InputRefused, match="s3://bucket"):
        open_store("gs://bucket/results")


def test_the_summary_shows_totals_and_every_check_and_keeps_its_form(tmp_path: Path) -> None:
    store = tmp_path / "store"
    for name, content in files().items():
        (store / name).parent.mkdir(parents=True, exist_ok=True)
        (store / name).write_bytes(content)
    fetch(open_store(str(store)), environment="dev", scenario="smoke", run_id="gh-1", into=tmp_path / "out")
    about = {"variant": "a|b\n<script>"}
    text = summary(tmp_path / "out", state="Failed: SLO", where="s3://results/dev", about=about)
    lines = text.splitlines()
    assert "| state | Failed: SLO |" in lines
    assert "| variant | a\\|b &lt;script> |" in lines
    assert "| completed | 29 |" in lines
    assert not any(line.startswith("| unknown") for line in lines)
    why = "p95 total_ms &lt; 5000; found: 6210 \\| 2 windows"
    assert f"| p95 total_ms &lt; 5000 over 30s | failed | {why} |" in lines
    assert "| failure_rate &lt; 1% over 1m | passed |  |" in lines
    assert "| failed_spend > 5 USD | not measured | no price |" in lines


def test_a_run_without_files_still_says_how_it_ended(tmp_path: Path) -> None:
    text = summary(tmp_path, state="Crashed", where="nothing was found", about={"run": "gh-9"})
    assert "| state | Crashed |" in text
    assert "check" not in text
