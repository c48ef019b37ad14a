"""`pointsman scenario report` and `compare` on runs that have ended."""

import json

import numpy as np
import pytest

from pointsman.scenario import Scenario, Stage
from pointsman.settings import load_settings
from pointsman.workspace import Workspace
from tests.scenario.ledgers import ended_run

N = 1_500


@pytest.fixture
def runs(home):
    """Two ended runs, the second of which took twice as long."""
    ws = Workspace.open(load_settings(home=home), actor="a test")
    scenario = Scenario(name="steady", stages=(Stage(name="steady", rate=50, duration_s=30),))
    for run_id, seed, times in (("before", 1, 1.0), ("after", 2, 2.0)):
        took = times * np.random.default_rng(seed).lognormal(6, 0.5, N)
        ended_run(ws, scenario, run_id=run_id, took_ms=took, state=np.full(N, "completed"))


def test_a_report_is_written_beside_the_ledger_and_its_files_are_named(pointsman, home, runs):
    document = pointsman("scenario", "report", "before", "--json").document
    assert set(document["files"]) == {"report.html", "k6-summary.json", "junit.xml"}
    for uri in document["files"].values():
        assert uri.startswith("file://")
    (page,) = (home / "results").rglob("report.html")
    assert "Load: fast@cpu" in page.read_text()
    assert "report.html" in pointsman("scenario", "report", "before").out


def test_a_regression_is_said_and_exits_1_and_the_other_way_round_it_does_not(pointsman, home, runs, tmp_path):
    page = tmp_path / "page.html"
    answer = pointsman("scenario", "compare", "before", "after", "--page", page, "--json")
    assert answer.code == 1
    assert json.loads(answer.out)["regressed"] == ["p50", "p95"]
    assert "Regression of p50, p95." in answer.err
    assert "Two runs compared" in page.read_text()
    answer = pointsman("scenario", "compare", "after", "before")
    assert answer.code == 0
    assert "Improvement of p50, p95." in answer.out
    assert pointsman("scenario", "compare", "after", "absent").code == 2
