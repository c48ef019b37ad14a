"""The self-contained page of a choose-route run: every step's report on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa

from pointsman.benchmark import matrix_report
from pointsman.decision import hud_report, load_verdict
from pointsman.economics import read_money, with_money
from pointsman.ids import RouteKey
from pointsman.quality import trust_card
from pointsman.reporting import to_html
from pointsman.routing import routing_report
from pointsman.scenario import scenario_report
from pointsman.settings import load_settings
from pointsman.storage import tables, write_atomically
from pointsman.workspace import Workspace
from service.cli.world import World


def write_report(world: World, outcome: dict[str, Any]) -> Path:
    """Write `report/index.html` in the home folder and return its path."""
    ws = Workspace.open(load_settings(), actor="cli")
    verdict = load_verdict(ws, outcome["verdict_id"])
    runs = tables.load_test_runs
    with ws.database.begin() as connection:
        load_runs = list(
            connection.execute(
                sa.select(runs.c.id).where(runs.c.parent_run_id == outcome["run_id"]).order_by(runs.c.variant_id)
            ).scalars()
        )
    key = RouteKey.parse(outcome["hud"]["route_key"])
    reports = [
        with_money(hud_report(outcome["hud"]), read_money(ws, outcome["verdict_id"])),
        routing_report(ws, key, None),
        matrix_report(ws, verdict.benchmark_id),
        trust_card(ws, verdict.evaluation_set_id),
        *(scenario_report(ws, run_id) for run_id in load_runs),
    ]
    path = world.home / "report" / "index.html"
    write_atomically(path, to_html(reports, f"Pointsman: {key}").encode())
    return path
