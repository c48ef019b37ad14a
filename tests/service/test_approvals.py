"""A run that may cost more than needs no approval: it waits, another identity decides, and it goes on or has failed."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from flows.run_scenario import RunScenarioRequest, run_scenario
from pointsman.actions import ActionLog
from pointsman.errors import GuardRefused
from pointsman.safety import create_token, list_approvals, spent_in_month, who_acts
from pointsman.scenario import read_run, run_status
from pointsman.storage import tables
from tests.few_inputs import variant
from tests.world import FEW_INPUTS, LabWorld

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("world")]
STAGE = {"name": "only", "kind": "constant", "rate": 4.0, "duration_s": 1.0}


def request(run_id: str, **changes: Any) -> RunScenarioRequest:
    scenario = {"name": "guarded", "stages": [STAGE], "drain_limit_s": 30.0}
    return RunScenarioRequest(
        scenario=scenario,
        variant=variant("x264-veryfast-crf23"),
        input_set=FEW_INPUTS,
        run_id=run_id,
        **changes,
    )


def test_a_run_waits_for_somebody_else_and_then_spends_what_was_approved(
    lab_world: LabWorld, monkeypatch: pytest.MonkeyPatch, pointsman: Any
) -> None:
    ws = lab_world.workspace()
    run_scenario(request("measured-before"))
    measured = run_status(ws, "measured-before")["cost"]
    assert Decimal(measured["usd"]) > 0
    monkeypatch.setenv("POINTSMAN_APPROVAL_LIMIT_USD", "0.000001")
    with pytest.raises(GuardRefused, match="waits for ap_") as waiting:
        run_scenario(request("guarded"))
    assert waiting.value.code == "awaiting_approval"
    assert read_run(ws, "guarded").status == "awaiting_approval"
    accepted = lab_world.accepted()
    (asked,) = list_approvals(ws)
    (logged,) = [one for one in ActionLog(ws).read(run_id="guarded") if one.event == "approval_requested"]
    assert logged.instruction == f"pointsman approve {asked.id}"

    refused = pointsman("approve", asked.id)
    assert (refused.code, "approval_by_requester" in refused.err) == (3, True)
    _, token = create_token(ws, who_acts(ws, None), "somebody-else", "operator")
    monkeypatch.setenv("POINTSMAN_TOKEN", token.reveal())
    assert pointsman("approve", asked.id, "--reason", "it is cheap").code == 0
    monkeypatch.delenv("POINTSMAN_TOKEN")
    assert lab_world.accepted() == accepted, "nothing was sent while it waited"

    run_scenario(request("guarded"))
    cost = run_status(ws, "guarded")["cost"]
    assert read_run(ws, "guarded").status == "completed"
    assert cost["limit_usd"] == str(asked.limit_usd)
    assert Decimal(cost["forecast"]["low"]) <= Decimal(cost["forecast"]["usd"]) <= Decimal(cost["forecast"]["high"])
    assert spent_in_month(ws, f"{ws.clock.now():%Y-%m}") >= Decimal(cost["usd"]) + Decimal(measured["usd"])
    with ws.database.connect() as connection:
        rows = [str(row) for table in tables.metadata.sorted_tables for row in connection.execute(table.select())]
    assert token.reveal().split("_", 2)[2] not in " ".join(rows)


def test_a_rejected_run_has_failed_and_says_who_and_why(
    lab_world: LabWorld, monkeypatch: pytest.MonkeyPatch, pointsman: Any
) -> None:
    ws = lab_world.workspace()
    monkeypatch.setenv("POINTSMAN_APPROVAL_LIMIT_USD", "0.000001")
    with pytest.raises(GuardRefused):
        run_scenario(request("unwanted"))
    (asked,) = list_approvals(ws)
    _, token = create_token(ws, who_acts(ws, None), "another", "operator")
    monkeypatch.setenv("POINTSMAN_TOKEN", token.reveal())
    assert pointsman("approve", asked.id, "--reject", "--reason", "not this week").code == 0
    with pytest.raises(GuardRefused, match=r"another rejected ap_.*not this week"):
        run_scenario(request("unwanted"))
    record = read_run(ws, "unwanted")
    assert record.status == "failed"
    assert record.metrics_json["failure"]["code"] == "approval_rejected"
    assert record.metrics_json["failure"]["instruction"]
