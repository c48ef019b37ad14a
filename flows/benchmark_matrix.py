"""benchmark-matrix: run every variant on every input, in randomised rounds, and keep every output."""

from __future__ import annotations

from prefect import flow
from prefect.runtime import flow_run
from prefect.states import Completed, State
from pydantic import BaseModel, ConfigDict, Field, model_validator

from flows.money_hud import ComparisonRules
from pointsman.benchmark import VariantFilter
from pointsman.ids import benchmark_id
from tasks.benchmark import (
    collect_matrix,
    discover_variants,
    plan_matrix,
    report_matrix,
    report_preview,
    run_chunks,
    run_round,
    unfinished_rounds,
)
from tasks.checks import check_run_items
from tasks.chunks import runs_elsewhere
from tasks.economics import check_budget, check_month, record_spending
from tasks.looks import look, require_looks
from tasks.production import enter_with_matrix, lower_budget, once_agreed

DRY_RUN = "Dry run"
"""What the state of a run that sent nothing begins with: automations tell it apart by that."""


class EarlyStop(BaseModel):
    """When a variant is given up before its last cell; what is left of it is marked as skipped."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    failures: int = Field(title="Failures", description="So many failed cells ...", ge=1, le=100_000)
    of_first: int = Field(title="Of the first", description="... of its first so many.", ge=1, le=100_000)


class BenchmarkMatrixRequest(BaseModel):
    """Variants x inputs x repeats. Either `variants` or `filters` says which."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    variants: tuple[str, ...] = Field(
        (), title="Variants", description="Ids of registered, enabled variants of one route.", max_length=200
    )
    filters: VariantFilter | None = Field(
        None, title="Filters", description="Instead of ids: every enabled variant that matches, of one route."
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
    drain_limit_s: float = Field(
        300.0,
        title="Drain limit (s)",
        description="Seconds that a round may learn nothing before its open cells count as unknown: "
        "more than the longest job takes, its time in a queue included.",
        gt=0,
        le=86_400,
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
        description="Name of a judge block: after each round, or chunk elsewhere, judge, decide by the declared "
        "sequential plan, and skip the rest once that is decided. Empty: every cell is run.",
    )
    early_stop: EarlyStop | None = Field(
        None, title="Early stop", description="By what rule a variant is given up; empty: every cell is run."
    )
    dry_run: bool = Field(
        False,
        title="Dry run",
        description="Send and write nothing: report the cells, what they would cost and take, and the inputs needed.",
    )
    rules: ComparisonRules = Field(
        ComparisonRules(), title="Rules", description="Of a dry run: the margins for which inputs are needed."
    )
    assumed_saving: float = Field(
        0.2, title="Assumed saving", description="Of a dry run: the true saving that is to be found.", gt=0, lt=1
    )
    run_id: str | None = Field(
        None,
        title="Run id",
        description="Names the run. The same id again continues it; empty: the flow run's own id.",
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
    )

    @model_validator(mode="after")
    def _either(self) -> BenchmarkMatrixRequest:
        if bool(self.variants) == (self.filters is not None):
            raise ValueError("either variants or filters, and not both")
        return self


@flow(name="benchmark-matrix", flow_run_name="matrix-of-{request.input_set}")
def benchmark_matrix(request: BenchmarkMatrixRequest) -> str | State[str]:
    """Returns the benchmark id (`bm_<uuid>`), of a dry run the one that it would have, in a state that says so."""
    run_id = request.run_id or flow_run.id
    bm_id = benchmark_id(run_id)
    variants = request.variants if request.filters is None else discover_variants(bm_id, request.filters)
    if request.dry_run:
        report_preview(
            variant_ids=variants,
            input_set_id=request.input_set,
            repeats=request.repeats,
            seed=request.seed,
            round_cells=request.round_cells,
            in_flight_per_provider=request.in_flight_per_provider,
            price_book=request.price_book,
            rules=request.rules.model_dump(),
            assumed_saving=request.assumed_saving,
        )
        return Completed(message=f"{DRY_RUN}: nothing was sent.", data=bm_id)
    if request.look_with is not None:
        require_looks(bm_id, request.look_with, request.price_book)
    consent = once_agreed(
        lambda: enter_with_matrix(
            bm_id,
            variant_ids=variants,
            input_set_id=request.input_set,
            repeats=request.repeats,
            in_flight_per_provider=request.in_flight_per_provider,
            price_book=request.price_book,
            production=request.production,
        )
    )
    budget_usd = lower_budget(request.budget_usd, consent)
    check_month(bm_id)
    limited = plan_matrix(
        bm_id,
        parent_run_id=run_id,
        variant_ids=variants,
        input_set_id=request.input_set,
        repeats=request.repeats,
        seed=request.seed,
        round_cells=request.round_cells,
        in_flight_per_provider=request.in_flight_per_provider,
        drain_limit_s=request.drain_limit_s,
        chunk_size=request.chunk_size,
        early_stop=None if request.early_stop is None else request.early_stop.model_dump(),
        consent=consent,
    )
    held = limited or budget_usd is not None
    try:
        if held:
            check_budget(bm_id, request.price_book, budget_usd)
        if runs_elsewhere():
            run_chunks(
                bm_id,
                request.price_book,
                budget_usd,
                limited=limited,
                look_with=request.look_with,
                fall_back_inline=request.fall_back_inline,
            )
        for number in unfinished_rounds(bm_id):
            held = run_round(bm_id, number) or held
            if held:
                check_budget(bm_id, request.price_book, budget_usd)
            if request.look_with is not None and look(bm_id, request.look_with, request.price_book):
                break
        check_run_items(bm_id)
        collect_matrix(bm_id)
    finally:
        record_spending(bm_id, request.price_book)  # whatever ended it, the month has paid for it
    report_matrix(bm_id)
    return bm_id
