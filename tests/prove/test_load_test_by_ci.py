"""What CI runs, against `pointsman up`: a real worker carries the load test out, and its files come back by its id."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.run_results import FILES
from pointsman.ids import VariantId
from pointsman.scenario import run_status
from pointsman.settings import load_settings
from pointsman.workspace import Workspace
from tests.few_inputs import variant
from tests.prove.test_a_fault_from_the_ui import CHECKOUT, Up

pytestmark = [pytest.mark.prove, pytest.mark.e2e, pytest.mark.xdist_group("world"), pytest.mark.timeout(500)]
CHOSEN = variant("x264-veryfast-crf23")


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    started = Up(tmp_path_factory.mktemp("ci"))
    yield started
    started.tell("down")


def test_a_load_test_is_run_by_a_worker_and_its_checks_come_back(up: Up, tmp_path: Path) -> None:
    given = {
        "deployment": "run-scenario/local",
        "scenario": "lab/scenarios/phase01-smoke.yaml",
        "environment": VariantId.parse(CHOSEN).environment,
        "variant": CHOSEN,
        "input-set": "lab-photographs-v1",
        "run-id": "github-1-1",
        "results": str(up.home / "results"),
        "output": str(tmp_path),
    }
    words = [word for name, value in given.items() for word in (f"--{name}", value)]
    done = subprocess.run(
        [sys.executable, "-m", "deployments.load_test", *words],
        cwd=CHECKOUT,
        env={**os.environ, "PREFECT_API_URL": up.api, "POINTSMAN_HOME": str(up.home)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told_by_the_engine = run_status(Workspace.open(load_settings(home=up.home), actor="a test"), "github-1-1")
    assert told_by_the_engine["status"] == "completed"
    assert {path.name for path in tmp_path.iterdir()} == {*FILES, "summary.md"}
    told = (tmp_path / "summary.md").read_text()
    assert "| state | Completed |" in told
    assert "| completed | 30 |" in told
    cases = [case.get("name") for case in ET.parse(tmp_path / "junit.xml").getroot().iter("testcase")]
    assert cases
    assert all(f"| {str(case).replace('<', '&lt;')} | " in told for case in cases)
    assert json.loads((tmp_path / "results.json").read_text())["run_id"] == "github-1-1"
