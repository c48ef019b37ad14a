"""Tasks of a benchmark matrix: plan its cells, run a round, close and report it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from prefect import task

from pointsman import benchmark
from pointsman.economics import hold_spending
from pointsman.matrix_preview import preview_matrix, preview_report
from pointsman.safety import Consent
from tasks.bridging import cancelled, ignore
from tasks.checks import read_own_rules
from tasks.chunks import chunk_runs
from tasks.looks import look
from tasks.opening import executor_secret, open_price_book, open_target, open_workspace
from tasks.policies import DRIVE, ONCE, RECORD
from tasks.recording import record_report


@task(name="discover-variants", **RECORD)
def discover_variants(bm_id: str, filters: benchmark.VariantFilter) -> tuple[str, ...]:
    """The ids of the variants that match, or that the matrix was planned with before."""
    found = benchmark.discover_variants(open_workspace(), filters, benchmark_id=bm_id)
    return tuple(str(one.id) for one in found)


@task(name="plan-matrix", **RECORD)
def plan_matrix(
    bm_id: str,
    *,
    parent_run_id: str,
    variant_ids: Sequence[str],
    input_set_id: str,
    repeats: int,
    seed: int,
    round_cells: int,
    in_flight_per_provider: int,
    drain_limit_s: float,
    chunk_size: int,
    early_stop: Mapping[str, int] | None,
    consent: Consent | None,
) -> bool:
    """Write the matrix and its items; a repetition finds them and changes nothing.

    Returns whether a variant has a limit of its own to what it may spend.
    """
    read_own_rules()
    ws = open_workspace()
    variants = [benchmark.variant(ws, variant_id) for variant_id in variant_ids]
    created = benchmark.create_matrix(
        ws,
        benchmark_id=bm_id,
        parent_run_id=parent_run_id,
        variants=[one.id for one in variants],
        inputs=benchmark.input_set(ws, input_set_id),
        repeats=repeats,
        seed=seed,
        round_cells=round_cells,
        environment_id=variants[0].id.environment,
        targets=[open_target(name) for name in sorted({one.target for one in variants})],
        in_flight_per_provider=in_flight_per_provider,
        drain_limit_s=drain_limit_s,
        chunk_size=chunk_size,
        early_stop=None if early_stop is None else benchmark.StopRule(**early_stop),
        consent=consent,
    )
    return _is_limited(created)


@task(name="report-preview", **RECORD)
def report_preview(
    *,
    variant_ids: Sequence[str],
    input_set_id: str,
    repeats: int,
    seed: int,
    round_cells: int,
    in_flight_per_provider: int,
    price_book: str,
    rules: Mapping[str, Any],
    assumed_saving: float,
) -> None:
    """Report what the matrix would be; nothing else is written."""
    ws = open_workspace()
    preview = preview_matrix(
        ws,
        [benchmark.variant(ws, variant_id) for variant_id in variant_ids],
        benchmark.input_set(ws, input_set_id),
        open_price_book(price_book),
        repeats=repeats,
        seed=seed,
        round_cells=round_cells,
        in_flight_per_provider=in_flight_per_provider,
        rules=rules,
        assumed_saving=assumed_saving,
    )
    record_report("benchmark-matrix", preview_report(preview))


@task(name="unfinished-rounds", **RECORD)
def unfinished_rounds(bm_id: str) -> list[int]:
    return list(benchmark.rounds(open_workspace(), bm_id))


@task(name="run-round", task_run_name="round-{number}", **DRIVE)
def run_round(bm_id: str, number: int) -> bool:
    """Drive the round's open cells in a child process and store what became of each.

    Returns whether a variant has a limit by now to what it may spend: one set while the matrix runs counts, too.
    """
    ws = open_workspace()
    benchmark.run_round(ws, bm_id, number, secret=executor_secret(), cancelled=cancelled, on_status=ignore)
    return _is_limited(benchmark.matrix_run(ws, bm_id))


@task(name="run-chunks", **ONCE)
def run_chunks(
    bm_id: str,
    price_book: str,
    budget_usd: float | None,
    *,
    limited: bool,
    look_with: str | None,
    fall_back_inline: bool,
) -> None:
    """Have the chunks run elsewhere and wait for them; after each, look at what was spent where that is limited, as a
    chunk does before each of its rounds, and whether the comparison is decided where that may be looked at.

    A chunk repeats its own work, and one whose run vanishes is started again. What is left undone because ECS cannot be
    used is the flow's own, where that is allowed.
    """
    ws = open_workspace()
    held = limited or budget_usd is not None
    spending = {"price_book": price_book, "budget_usd": budget_usd} if held else None

    def on_done() -> None:
        if held or _is_limited(benchmark.matrix_run(ws, bm_id)):
            budget = None if budget_usd is None else Decimal(str(budget_usd))
            hold_spending(ws, bm_id, open_price_book(price_book), budget)
        if look_with is not None:
            look(bm_id, look_with, price_book)

    with benchmark.in_place_instead(ws, bm_id, allowed=fall_back_inline):
        benchmark.run_matrix_elsewhere(ws, bm_id, chunk_runs(bm_id), on_done=on_done, spending=spending)


@task(name="run-round-of-chunk", task_run_name="round-{number}", **DRIVE)
def run_round_of_chunk(bm_id: str, number: int, turn: benchmark.Turn, at_once: int) -> None:
    """`run_round` in a task that shares only the database and the results store with others."""
    benchmark.run_round_elsewhere(
        open_workspace(),
        bm_id,
        number,
        turn=turn,
        at_once=at_once,
        secret=executor_secret(),
        cancelled=cancelled,
        on_status=ignore,
    )


@task(name="collect-matrix", **RECORD)
def collect_matrix(bm_id: str) -> None:
    benchmark.finish_matrix(open_workspace(), bm_id)


@task(name="report-matrix", **RECORD)
def report_matrix(bm_id: str) -> None:
    record_report("benchmark-matrix", benchmark.matrix_report(open_workspace(), bm_id))


def _is_limited(run: benchmark.MatrixRun) -> bool:
    return any(one.limits.usd is not None for one in run.variants)
