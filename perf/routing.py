"""Changing a route with the engine and the file gateway: `python perf/routing.py [--cycles 1000]`.

A cycle is what a user's `route apply --verdict` and `route rollback` ask of the engine: find the route's gateway, read
what the verdict asks for, hold it to rules that need its evidence, its judge's trust and capacities, first so that
nobody is asked in vain and then again, apply it; and the rollback after it. On SQLite, with a real file that is synced
to the disk, in a history that grows as it goes on. Exits 1 when the p99 of either is 200 ms or more.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from pointsman.benchmark import register_effect_revision, register_environment, register_variants
from pointsman.decision import decide, store_verdict, verdict_document
from pointsman.errors import GuardRefused
from pointsman.model import Binding, Variant
from pointsman.routing import (
    BindingRequest,
    Freeze,
    Gateway,
    GatewaySpec,
    RoutingRules,
    apply_binding,
    binding_for_verdict,
    ensure_may_apply,
    gateway_of,
    rollback,
    set_rules,
)
from pointsman.safety import Identity
from pointsman.settings import load_settings
from pointsman.storage import tables
from pointsman.workspace import Workspace
from tests.decision.comparisons import measured, plan, variant

LIMIT_MS = 200.0
VARIANTS, INPUTS = 6, 100
VERDICT = "verdict-of-perf"


def prepare(ws: Workspace) -> None:
    """Six variants, a verdict for the second of them, and capacities."""
    planned = plan(challengers=VARIANTS - 1, clusters=INPUTS)
    names = planned.variants
    register_environment(ws, "lab", name="lab", kind="local")
    register_effect_revision(ws, "postcard-1", name="Postcard", media="video")
    register_variants(ws, [Variant(one, "lab") for one in names])
    data = measured(planned, cost=lambda cell: "0.005" if cell[0] == 1 else "0.01")
    found = decide(planned, data)
    store_verdict(
        ws,
        verdict_id=VERDICT,
        benchmark_id="bm_perf",
        evaluation_set_id="set_perf",
        route_key=names[0].route_key,
        plan=planned,
        verdict=found,
        document=verdict_document(planned, data, found),
    )
    with ws.database.begin() as connection:
        for one in names[:2]:
            searched: dict[str, Any] = {
                "settings": {"slos": []},
                "steps": [],
                "per_s": Decimal(10),
                "high_per_s": None,
                "why": "perf",
            }
            times = {"created_at": ws.clock.now(), "ended_at": ws.clock.now()}
            row = {"id": f"cap-{one.label}", "variant_id": str(one), **searched, **times}
            connection.execute(sa.insert(tables.capacities).values(row))


def rule(ws: Workspace) -> None:
    """Every rule that a change has to read something for."""
    past = ws.clock.now() - timedelta(days=1)
    rules = RoutingRules(
        verdict_required=True,
        min_success_rate=0.98,
        min_quality=85,
        max_p95_ms=20_000,
        jobs_per_month=400_000,
        max_usd_per_month=Decimal(2500),
        peak_per_s=4,
        max_changes_per_day=1_000_000,
        freezes=(Freeze(why="over", since=past - timedelta(days=1), until=past),),
        held={"lab-cpu:vcpu-second": Decimal(7200)},
    )
    set_rules(ws, variant(0).route_key, rules, Identity("perf", "admin", "local"))


def change(ws: Workspace, spec: GatewaySpec, cycle: int, now: Binding) -> Binding:
    """What `route apply --verdict` asks of the engine."""
    gateway = gateway_of(ws, now.route_key, None, lambda _: spec)
    proposed = binding_for_verdict(ws, VERDICT)
    asked = BindingRequest(
        proposed.route_key, proposed.weights, now.generation, proposed.cause, f"apply {cycle}", verdict_id=VERDICT
    )
    ensure_may_apply(ws, gateway, asked)
    return apply_binding(ws, gateway, asked)


def refusals(ws: Workspace, gateway: Gateway, asked: BindingRequest) -> list[str]:
    """The codes of what speaks against a change."""
    try:
        ensure_may_apply(ws, gateway, asked)
    except GuardRefused as refused:
        codes: Any = refused.data["codes"]
        return list(codes)
    return []


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cycles", type=int, default=1000)
    cycles = parser.parse_args().cycles
    took: dict[str, list[float]] = {"apply": [], "rollback": []}
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        ws = Workspace.open(load_settings(home=home), actor="perf")
        prepare(ws)
        spec, route_key = GatewaySpec(path=str(home / "flags.json")), variant(0).route_key
        gateway = gateway_of(ws, route_key, None, lambda _: spec)
        now = apply_binding(ws, gateway, BindingRequest(route_key, {variant(0): 100}, None, "perf", "first"))
        rule(ws)
        broken = refusals(ws, gateway, BindingRequest(route_key, {variant(2): 100}, 1, "perf", "by hand"))
        # Whatever a rule reads is missing where no verdict is named, and nothing is known of this one's capacity.
        assert len(broken) == 6, broken
        for cycle in range(cycles):
            began = time.perf_counter()
            now = change(ws, spec, cycle, now)
            between = time.perf_counter()
            gateway = gateway_of(ws, route_key, None, lambda _: spec)
            now = rollback(
                ws,
                gateway,
                route_key=route_key,
                expected=now.generation,
                idempotency_key=f"rollback {cycle}",
                reason="perf",
            )
            took["apply"].append(1000 * (between - began))
            took["rollback"].append(1000 * (time.perf_counter() - between))
            assert gateway.read(route_key) == now
    print(f"Apply by a verdict, and rollback: engine and file gateway, {cycles} cycles (p99 below {LIMIT_MS:.0f} ms)")
    print(f"{'':<10}{'p50 ms':>10}{'p99 ms':>10}{'max ms':>10}")
    worst = 0.0
    for name, times in took.items():
        times.sort()
        p50, p99 = times[len(times) // 2], times[-(-99 * len(times) // 100) - 1]
        worst = max(worst, p99)
        print(f"{name:<10}{p50:>10.1f}{p99:>10.1f}{times[-1]:>10.1f}")
    return 0 if worst < LIMIT_MS else 1


if __name__ == "__main__":
    sys.exit(main())
