"""From a judged benchmark to a stored verdict and its HUD: the one place where data meets the declared plan."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import polars as pl
import sqlalchemy as sa

from pointsman.actions import ActionLog
from pointsman.benchmark import matrix_run
from pointsman.decision.declared import declared_plans
from pointsman.decision.detectable import minimum_detectable_saving
from pointsman.decision.document import VerdictDocument, read_document
from pointsman.decision.hud import HudContext, build_hud
from pointsman.decision.looking import seen
from pointsman.decision.plan import VerdictPlan
from pointsman.decision.reach import reach
from pointsman.decision.service import Services, find_services, read_again
from pointsman.decision.store import StoredVerdict, document_path, is_stored, load_verdict, store_verdict
from pointsman.economics import PriceBook, experiment_cost, price_cells, price_missing, waterfalls
from pointsman.errors import Conflict, NotFound
from pointsman.ids import VariantId, derive
from pointsman.model import Json, Measurement, Missing
from pointsman.quality import corrected_qualities
from pointsman.scenario import latest_capacities, p95_under_load
from pointsman.storage import tables
from pointsman.workspace import Workspace

_CONCLUSIVE = ("WINNER", "EQUIVALENT", "NO_SIGNIFICANT_WINNER")


def conclude(
    ws: Workspace,
    benchmark_id: str,
    evaluation_set_id: str,
    book: PriceBook,
    *,
    price_per_view_usd: Decimal | None = None,
) -> StoredVerdict:
    """Decide by the plan declared for the judge of this evaluation set; write measurements, verdict and HUD.

    With `price_per_view_usd`, what a delivered view is sold for, the HUD shows margins.

    Repeating it gives the same verdict id and, from the same data, the same bytes. Raises `NotFound` for an unknown
    benchmark or evaluation set, `Conflict` when no declared plan names this judge or this price book, and when the
    benchmark's share of its route's risk, or the alpha of its looks, went into verdicts of another judge.
    """
    plan = _plan_for(ws, benchmark_id, evaluation_set_id, book)
    if plan.alpha_per_year is not None or plan.sequential:
        _ensure_decided_once(ws, benchmark_id, evaluation_set_id)
    verdict_id = f"vd_{derive('verdict', benchmark_id, evaluation_set_id, plan.sha256)}"
    load_tests = load_tests_of(ws, benchmark_id)
    load_runs = {variant: _that_count(tests) for variant, tests in load_tests.items()}
    reached = reach(ws, benchmark_id, evaluation_set_id, plan, book, _services(ws, plan, verdict_id, load_runs))
    data, verdict = reached.data, reached.verdict
    if plan.sequential or verdict.outcome not in _CONCLUSIVE:
        # Each look has a verdict of its own; and what decided nothing is not in the way once a judge was asked again.
        verdict_id = f"vd_{derive('verdict', benchmark_id, evaluation_set_id, plan.sha256, verdict.data_sha256)}"
    stored = store_verdict(
        ws,
        verdict_id=verdict_id,
        benchmark_id=benchmark_id,
        evaluation_set_id=evaluation_set_id,
        route_key=plan.incumbent.route_key,
        plan=plan,
        verdict=verdict,
        document=reached.document,
    )
    cells = price_cells(ws, benchmark_id, book, deliveries_per_output=plan.deliveries_per_output)
    for fact in price_missing(cells):
        ActionLog(ws).record("price_missing", context=benchmark_id, fact=fact)
    run_ids = [run_id for runs in load_runs.values() for run_id in runs]
    paid = [run_id for tests in load_tests.values() for run_id in tests]
    context = HudContext(
        verdict_id=stored.id,
        benchmark_id=benchmark_id,
        evaluation_set_id=evaluation_set_id,
        experiment_cost=experiment_cost(ws, benchmark_id, cells, book, load_run_ids=paid),
        minimum_detectable_saving=minimum_detectable_saving(plan, data),
        measure_again=f"pointsman benchmark run --again {benchmark_id}",
        load_p95_ms=p95_under_load(ws, run_ids),
        capacities=latest_capacities(ws, plan.variants),
        waterfalls=waterfalls(cells),
        price_per_view_usd=price_per_view_usd,
        by_people=corrected_qualities(ws, evaluation_set_id),
    )
    ws.results.write(f"verdicts/{stored.id}/measurements.parquet", _parquet(data))
    ws.results.write_json(f"verdicts/{stored.id}/hud.json", build_hud(plan, data, verdict, context))
    return stored


def read_hud(ws: Workspace, verdict_id: str) -> dict[str, Json]:
    """The HUD document of a verdict. Raises `NotFound`."""
    load_verdict(ws, verdict_id)
    document: dict[str, Json] = json.loads(ws.results.read(f"verdicts/{verdict_id}/hud.json"))
    return document


def verdicts_of(ws: Workspace, benchmark_id: str) -> list[StoredVerdict]:
    """The verdicts on a benchmark, newest first."""
    table = tables.verdicts
    wanted = sa.select(table.c.id).where(table.c.benchmark_id == benchmark_id).order_by(table.c.created_at.desc())
    with ws.database.begin() as connection:
        ids = list(connection.execute(wanted).scalars())
    return [load_verdict(ws, verdict_id) for verdict_id in ids]


def load_tests_of(ws: Workspace, benchmark_id: str) -> dict[VariantId, dict[str, str]]:
    """The status of all load tests that were started by the run of which the matrix is a step, by variant and id.

    Raises `NotFound`."""
    runs = tables.load_test_runs
    parent = matrix_run(ws, benchmark_id).parent_run_id
    if parent is None:
        return {}
    wanted = (
        sa.select(runs.c.id, runs.c.variant_id, runs.c.status)
        .where(runs.c.parent_run_id == parent, runs.c.status.not_in(("created", "awaiting_approval")))
        .order_by(runs.c.id)
    )
    found: dict[VariantId, dict[str, str]] = {}
    with ws.database.begin() as connection:
        for row in connection.execute(wanted):
            found.setdefault(VariantId.parse(row.variant_id), {})[row.id] = row.status
    return found


def _plan_for(ws: Workspace, benchmark_id: str, evaluation_set_id: str, book: PriceBook) -> VerdictPlan:
    table = tables.evaluation_sets
    with ws.database.begin() as connection:
        row = connection.execute(
            sa.select(table.c.identity, table.c.reference).where(
                table.c.id == evaluation_set_id, table.c.benchmark_id == benchmark_id
            )
        ).first()
    if row is None:
        raise NotFound("evaluation set", evaluation_set_id, f"one of {benchmark_id}")
    identity, reference = row
    for plan in declared_plans(ws, benchmark_id):
        if dict(plan.judge) == dict(identity):
            if reference not in (None, str(plan.incumbent)):
                raise Conflict(
                    f"The judge of {evaluation_set_id} compared with {reference}, not with {plan.incumbent}.",
                    instruction=f"pointsman evaluate {benchmark_id} --incumbent {reference}",
                    code="reference_changed",
                )
            if plan.price_book_sha256 != book.sha256:
                raise Conflict(
                    f"The plan of {benchmark_id} was declared with price book {plan.price_book_sha256[:12]}, "
                    f"not {book.sha256[:12]}.",
                    instruction="Use the price book that was declared, or measure again.",
                    code="price_book_changed",
                )
            return plan
    raise Conflict(
        f"No plan declared for {benchmark_id} names the judge {identity['name']} of {evaluation_set_id}.",
        instruction=f"pointsman evaluate {benchmark_id}",
        code="judge_not_declared",
    )


def _ensure_decided_once(ws: Workspace, benchmark_id: str, evaluation_set_id: str) -> None:
    """A look that could have decided has taken its alpha, whatever it found."""
    table = tables.verdicts
    by_others = (
        sa.select(table.c.id, table.c.outcome)
        .where(table.c.benchmark_id == benchmark_id, table.c.evaluation_set_id != evaluation_set_id)
        .order_by(table.c.created_at.desc())
    )
    with ws.database.connect() as connection:
        others = connection.execute(by_others).all()
    for other in others:
        if other.outcome in _CONCLUSIVE or _could_decide(read_document(ws.results.read(document_path(other.id)))):
            raise Conflict(
                f"{benchmark_id} was decided about by another judge, {other.outcome} by {other.id}; "
                "a second decision would take the same risk again.",
                instruction=f"pointsman benchmark run --again {benchmark_id}",
                code="decided_by_another_judge",
            )


def _could_decide(said: VerdictDocument) -> bool:
    looked, _ = seen(said.plan, said.data)
    return bool(said.verdict.gates) and len(looked.clusters) >= said.plan.clusters_needed


def _that_count(tests: Mapping[str, str]) -> list[str]:
    """The completed load tests of a variant; where none completed all of them, so that there is no figure, and why."""
    return [run_id for run_id, status in tests.items() if status == "completed"] or list(tests)


def _services(
    ws: Workspace, plan: VerdictPlan, verdict_id: str, load_runs: Mapping[VariantId, Sequence[str]]
) -> Services:
    """Those that the verdict was drawn from when it was drawn before: a later search does not change it."""
    path = document_path(verdict_id)
    if ws.results.exists(path) and is_stored(ws, verdict_id):
        return read_again(ws, read_document(ws.results.read(path)).services)
    return find_services(ws, plan, load_runs)


def _parquet(data: list[Measurement]) -> bytes:
    columns: dict[str, list[Any]] = {name: [] for name in ("dispatch_id", "variant", "input_id", "cluster", "outcome")}
    columns |= {name: [] for name in ("repeat", "quality", "cost_usd", "total_ms", "missing")}
    for cell in data:
        for name in ("dispatch_id", "input_id", "cluster", "outcome", "repeat"):
            columns[name].append(getattr(cell, name))
        columns["variant"].append(str(cell.variant))
        why = []
        for name in ("quality", "cost_usd", "total_ms"):
            value = getattr(cell, name)
            columns[name].append(None if isinstance(value, Missing) else format(value, "f"))
            why += [f"{name}: {value.reason}"] if isinstance(value, Missing) else []
        columns["missing"].append("; ".join(why) or None)
    texts = {"quality": pl.String, "cost_usd": pl.String, "total_ms": pl.String, "missing": pl.String}
    buffer = io.BytesIO()
    pl.DataFrame(columns, schema_overrides=texts).write_parquet(buffer)
    return buffer.getvalue()
