"""Changing a route with the engine and the file gateway: `python perf/routing.py [--cycles 1000]`.

A cycle is an apply and the rollback after it, on SQLite, with a real file that is synced to the disk, in a history that
grows as it goes on. Exits 1 when the p99 of either is 200 ms or more.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from pointsman.benchmark import register_effect_revision, register_environment, register_variants
from pointsman.ids import VariantId
from pointsman.model import Variant
from pointsman.routing import FlagdFileGateway, apply_binding, rollback
from pointsman.settings import load_settings
from pointsman.workspace import Workspace

LIMIT_MS = 200.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cycles", type=int, default=1000)
    cycles = parser.parse_args().cycles
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        ws = Workspace.open(load_settings(home=home), actor="perf")
        register_environment(ws, "lab", name="lab", kind="local")
        register_effect_revision(ws, "postcard-1", name="Postcard", media="video")
        one, other = (
            VariantId.parse(f"er:postcard-1:wf:{name}:env:lab:stage:demo:provider:lab-cpu:exp:base") for name in "ab"
        )
        register_variants(ws, [Variant(one, "lab"), Variant(other, "lab")])
        gateway = FlagdFileGateway(home / "flags.json")
        route_key = one.route_key
        request = {"route_key": route_key, "cause": "perf"}
        now = apply_binding(ws, gateway, weights={one: 100}, expected=None, idempotency_key="first", **request)
        took: dict[str, list[float]] = {"apply": [], "rollback": []}
        for cycle in range(cycles):
            began = time.perf_counter()
            now = apply_binding(
                ws,
                gateway,
                weights={other: 100},
                expected=now.generation,
                idempotency_key=f"apply {cycle}",
                **request,
            )
            between = time.perf_counter()
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
    print(f"Apply and rollback, engine and file gateway, {cycles} cycles (limit of p99: {LIMIT_MS:.0f} ms)")
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
