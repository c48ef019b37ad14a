"""benchmark-matrix: run every variant on every input, in randomised rounds, and keep every output."""

from __future__ import annotations

from prefect import flow
from prefect.runtime import flow_run
from pydantic import BaseModel, ConfigDict, Field

from pointsman.ids import benchmark_id
from tasks.benchmark import collect_matrix, plan_matrix, report_matrix, run_chunks, run_round, unfinished_rounds
from tasks.checks import check_run_items
from tasks.chunks import runs_elsewhere
from tasks.economics import check_budget, check_month, record_spending
from tasks.looks import look
from tasks.production import enter_with_matrix, lower_budget, once_agreed


class BenchmarkMatrixRequest(BaseModel):
    """Variants x inputs x repeats."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    variants: tuple[str, ...] = Field(
        title="Variants", description="Ids of registered, enabled variants of one route.", min_length=1, max_length=200
    )
    input_set: str = Field(title="Input set", description="Id of a registered input set.", max_length=64)
    repeats: int = Field(1, title="Repeats", description="Runs of each variant on each input.", ge=1, le=100)
    seed: int = Field(1, title="Seed", description="Fixes the order of cells.", ge=0, lt=2**31)
    round_cells: int = Field(84, title="Cells per round", description="A round is retried as one.", ge=1, le=5000)
    chunk_size: int = Field(
        84,
        title="Cells per chunk",
        description="Where tasks elsewhere run the matrix, each gets as many whole rounds as hold so many cells.",
        ge=1,
        le=100_000,
    )
    in_flight_per_provider: int = Field(
        2, title="In flight per provider", description="Jobs at one provider at the same time.", ge=1, le=1000
    )
    price_book: str = Field("default", title="Price book", description="Name of a saved price book block.")
    budget_usd: float | None = Field(
        None, title="Budget (USD)", description="Stop after the round in which attempts cost more.", gt=0, le=1e6
    )
    production: str | None = Field(
        None,
        title="Production",
        description="Only where the variants belong to production: the id of that environment, to say so.",
        max_length=64,
    )
    fall_back_inline: bool = Field(
        False,
        title="Fall back",
        description="Where chunks are to run on ECS and that cannot be used: run the cells in this flow run.",
    )
    look_with: str | None = Field(
        None,
        title="Look with",
        description="Name of a judge block: after each round that this run does itself, judge, decide by the declared "
        "sequential plan, and skip the rest once that is decided. Empty: every cell is run.",
    )
    run_id: str | None = Field(
        None,
        title="Run id",
        description="Names the run. The same id again continues it; empty: the flow run's own id.",
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
    )


@flow(name="benchmark-matrix", flow_run_name="matrix-of-{request.input_set}")
def benchmark_matrix(request: BenchmarkMatrixRequest) -> str:
    """Returns the benchmark id (`bm_<uuid>`)."""
    run_id = request.run_id or flow_run.id
    bm_id = benchmark_id(run_id)
    consent = once_agreed(
        lambda: enter_with_matrix(
            bm_id,
            variant_ids=request.variants,
            input_set_id=request.input_set,
            repeats=request.repeats,
            in_flight_per_provider=request.in_flight_per_provider,
            price_book=request.price_book,
            production=request.production,
        )
    )
    budget_usd = lower_budget(request.budget_usd, consent)
    check_month(bm_id)
    plan_matrix(
        bm_id,
        parent_run_id=run_id,
        variant_ids=request.variants,
        input_set_id=request.input_set,
        repeats=request.repeats,
        seed=request.seed,
        round_cells=request.round_cells,
        in_flight_per_provider=request.in_flight_per_provider,
        chunk_size=request.chunk_size,
        consent=consent,
    )
    if runs_elsewhere():
        run_chunks(bm_id, request.price_book, budget_usd, fall_back_inline=request.fall_back_inline)
    for number in unfinished_rounds(bm_id):
        run_round(bm_id, number)
        if budget_usd is not None:
            check_budget(bm_id, request.price_book, budget_usd)
        if request.look_with is not None and look(bm_id, request.look_with, request.price_book):
            break
    check_run_items(bm_id)
    collect_matrix(bm_id)
    record_spending(bm_id, request.price_book)
    report_matrix(bm_id)
    return bm_id
