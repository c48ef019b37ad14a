"""What a verdict means for a command: INVALID fails it, and a move that was made is not advised again."""

from __future__ import annotations

from typing import Any

import pytest

from pointsman.errors import RunFailed
from service.cli import hud_view


def _hud(outcome: str) -> dict[str, Any]:
    return {
        "benchmark_id": "bm_1",
        "route_key": "er:a:env:b:stage:c",
        "verdict": {"outcome": outcome, "why": "A planned cell is missing.", "gates": []},
        "rows": [],
        "recommendations": [
            {"text": "Switch.", "command": "pointsman route apply --verdict vd_1"},
            {"text": "Go back.", "command": "pointsman route rollback er:a:env:b:stage:c"},
        ],
    }


def test_an_invalid_verdict_fails_the_command_and_says_where_to_look() -> None:
    with pytest.raises(RunFailed) as failed:
        hud_view.fail_if_invalid(_hud("INVALID"))
    assert failed.value.exit_code == 1
    assert failed.value.instruction == "pointsman benchmark show bm_1"
    for outcome in ("WINNER", "NO_SIGNIFICANT_WINNER", "INSUFFICIENT_DATA"):
        hud_view.fail_if_invalid(_hud(outcome))


@pytest.mark.parametrize("moved", [True, False])
def test_a_switch_that_was_made_is_not_advised_again(moved: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(hud_view.console, "print", lambda *words, **_: said.append(" ".join(map(str, words))))
    hud_view.show_hud(_hud("WINNER"), moved=moved)
    assert any("route apply" in line for line in said) is not moved
    assert any("route rollback" in line for line in said)
