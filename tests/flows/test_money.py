"""The tasks that put the money behind a verdict together and show it, without a server."""

import json

import pytest

from pointsman.economics import Production
from pointsman.reporting import Report, to_markdown
from tasks import economics as tasks
from tests.economics.conftest import world
from tests.economics.test_money import GPU_FLEET, HOSTED, PAID, PRICES, fill, hud_of
from tests.economics.worlds import World, book_of

__all__ = ["world"]


def test_the_artifact_shows_the_money_for_the_production_that_was_told(
    world: World, tmp_path, monkeypatch: pytest.MonkeyPatch
):
    fill(world, HOSTED, PAID)
    book = book_of(tmp_path, PRICES + GPU_FLEET)
    shown: dict[str, Report] = {}
    monkeypatch.setattr(tasks, "open_workspace", lambda: world.ws)
    monkeypatch.setattr(tasks, "open_price_book", lambda name: {"default": book}[name])
    monkeypatch.setattr(tasks, "read_hud", lambda ws, verdict_id: hud_of(HOSTED, PAID))
    monkeypatch.setattr(tasks, "hud_report", lambda hud: Report("Money HUD", hud["verdict_id"]))
    monkeypatch.setattr(tasks, "record_report", shown.__setitem__)
    tasks.weigh_money.fn("vd_1", "default", Production(outputs_per_month=1000))
    tasks.report_hud.fn("vd_1")
    kept = json.loads(world.ws.results.read("verdicts/vd_1/money.json"))
    assert kept["production"]["outputs_per_month"] == 1000
    assert "From list price to an accepted output" in to_markdown(shown["money-hud"])
