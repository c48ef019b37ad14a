"""A run that was started at a terminal is cancelled from another one: it ends once, and leaves no job at the target."""

from __future__ import annotations

import json
import subprocess
import time
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pointsman.errors import NotFound
from pointsman.scenario import run_status
from pointsman.storage import tables
from pointsman.workspace import Workspace
from service.cli import main
from tests.commands import start_pointsman
from tests.few_inputs import variant
from tests.scenario.ledgers import dispatches_of
from tests.world import FEW_INPUTS, LabWorld

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("world")]
RUN = "cancelled-at-a-terminal"
SCENARIO = """
name: too-long
shards: 2
drain_limit_s: 60
stages:
  - {name: all, rate: 12, duration_s: 120}
"""


def await_sent(ws: Workspace, count: int, process: subprocess.Popen[bytes], log: Path) -> None:
    give_up = time.monotonic() + 60
    while time.monotonic() < give_up:
        assert process.poll() is None, log.read_text()
        try:
            if run_status(ws, RUN)["counts"]["sent"] >= count:
                return
        except NotFound:
            pass  # it is not planned yet
        time.sleep(0.1)
    raise AssertionError(log.read_text())


def states(ws: Workspace) -> list[str]:
    moves = tables.state_transitions
    with ws.database.connect() as connection:
        wanted = sa.select(moves.c.to_state).where(moves.c.entity_id == RUN).order_by(moves.c.id)
        return list(connection.execute(wanted).scalars())


def test_a_cancel_at_the_command_line_ends_a_run_that_was_started_there(
    lab_world: LabWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ws, log = lab_world.workspace(), tmp_path / "run.log"
    (tmp_path / "too-long.yaml").write_text(SCENARIO)
    chosen = ("--variant", variant("svtav1-p6-crf38"), "--input-set", FEW_INPUTS)
    process = start_pointsman("scenario", "run", str(tmp_path / "too-long.yaml"), *chosen, "--run-id", RUN, log=log)
    try:
        await_sent(ws, 20, process, log)
        assert main(["scenario", "cancel", RUN, "--reason", "the phone rang", "--json"]) == 0
        answer: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert process.wait(30) == 1, log.read_text()
    finally:
        process.kill()
        process.wait()
    assert f"The run {RUN} was cancelled" in log.read_text().replace("\n", " ")
    assert "Traceback" not in log.read_text()
    assert answer["status"] == "cancelled"
    assert states(ws) == ["created", "starting", "running", "cancelling", "cancelled"]
    stop = answer["runner"]["stop"]
    assert (stop["reason"], bool(stop["who"])) == ("the phone rang", True)

    asked_at = datetime.fromisoformat(stop["when"])
    ledger = dispatches_of(ws, RUN)
    counts = answer["counts"]
    assert counts["planned"] == 1440
    assert counts["planned"] == sum(counts[term] for term in ("dropped", "cancelled_unsent", "sent"))
    assert counts["sent"] == sum(counts[term] for term in ("completed", "failed", "cancelled_sent", "unknown"))
    known = lab_world.lab("POST", "/v1/jobs/status", {"ids": ledger["dispatch_id"].to_list()[:500]})
    assert max(datetime.fromisoformat(job["created_at"]) for job in known["jobs"]) < asked_at + timedelta(seconds=2)
    at_the_lab = [job["status"] for job in known["jobs"]]
    assert set(at_the_lab) <= {"completed", "cancelled"}, "nothing is made that nobody waits for"
    assert at_the_lab.count("cancelled") == counts["cancelled_sent"] > 0
    assert len(at_the_lab) == counts["sent"]

    assert main(["scenario", "cancel", RUN, "--reason", "again", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    # What it cost is known a moment after the run has ended: whoever drove it prices it.
    for told in (answer, again):
        cost = told.pop("cost")
        unknown = ("usage is priced when the run has ended", "cancelled")
        assert Decimal(cost["usd"]) > 0 if cost["usd"] is not None else cost["missing"]["usd"] in unknown
    assert again == answer, "asking again changes nothing"
