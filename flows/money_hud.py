"""money-hud: price every attempt of a judged benchmark, decide by the declared plan, and show what was found."""

from __future__ import annotations

from prefect import flow
from pydantic import BaseModel, ConfigDict, Field

from pointsman.economics import Production
from tasks.checks import check_evaluations, check_measured, check_price_book
from tasks.economics import Decided, decide, declare_plans, register_prices, report_hud, weigh_money


class ComparisonRules(BaseModel):
    """What would count as better, declared and hashed before any result is read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    deliveries_per_output: int = Field(
        100, title="Deliveries per output", description="How often one output is sent to a viewer.", ge=0, le=10**9
    )
    success_margin: float = Field(
        0.02, title="Success margin", description="Success rate may be lower by at most this share.", ge=0, le=1
    )
    quality_margin: float = Field(
        2.0,
        title="Quality margin",
        description="Mean quality may be lower by at most these points of 100.",
        ge=0,
        le=100,
    )
    min_saving: float = Field(
        0.05,
        title="Minimum saving",
        description="Share of the incumbent's cost that makes a switch worth it.",
        ge=0,
        lt=1,
    )
    alpha: float = Field(
        0.05, title="Alpha", description="Risk of a false winner over all challengers together.", ge=0.0001, le=0.5
    )
    refusal_margin: float | None = Field(
        None, title="Refusal margin", description="Share of refused jobs may be higher by at most this.", ge=0, le=1
    )
    scores: dict[str, float] = Field(
        {},
        title="Scores",
        description="Single scores of the judge by their path, and by how much each may be lower.",
        examples=[{"ssim": 0.01}],
        max_length=20,
    )
    p95_limit_ms: float | None = Field(
        None,
        title="p95 limit (ms)",
        description="SLO of the total time: under load where there is a load test, else of the cells.",
        ge=1,
        le=1e9,
    )
    peak_per_s: float | None = Field(
        None,
        title="Peak per second",
        description="A winner's capacity search must have shown this rate, times the headroom.",
        gt=0,
        le=1e6,
    )
    headroom: float = Field(1.5, title="Headroom", description="Factor on the peak.", ge=1, le=100)
    order: tuple[str, ...] = Field(
        (),
        title="Order",
        description="The gates in the order in which they are asked; empty: success, refusals, quality, scores, "
        "latency, capacity, cost.",
        max_length=26,
    )
    sequential: bool = Field(
        False,
        title="Sequential",
        description="Decide after each round, and measure no more once it is decided; holds for all looks together.",
    )
    alpha_per_year: float | None = Field(
        None,
        title="Alpha per year",
        description="Risk of a false switch that all decisions of the route share in a year; empty: each by itself.",
        gt=0,
        le=1,
    )
    cooldown_days: float = Field(
        0, title="Cooldown (days)", description="How long the route rests after a switch.", ge=0, le=366
    )
    swaps: int = Field(10_000, title="Swaps", description="Label swaps of the test.", ge=999, le=1_000_000)


class MoneyHudRequest(BaseModel):
    """One judged benchmark."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    benchmark_id: str = Field(title="Benchmark", description="bm_<uuid> of a judged matrix.", pattern=r"^bm_")
    evaluation_set_id: str = Field(title="Evaluation set", description="The judgements that count.")
    incumbent: str = Field(title="Incumbent", description="Id of the variant that serves now.")
    rules: ComparisonRules = Field(
        ComparisonRules(),
        title="Rules",
        description="Ignored if a plan was declared before; declared after judging, only the defaults may be.",
    )
    judge: str = Field("auto", title="Judge", description="Name of the saved judge block that judged.")
    price_book: str = Field("default", title="Price book", description="Name of a saved price book block.")
    price_per_view_usd: float | None = Field(
        None,
        title="Price per view (USD)",
        description="What a delivered view is sold for; shows margins.",
        gt=0,
        le=1e6,
    )
    planned_production: Production = Field(
        Production(),
        title="Planned production",
        description="What is planned; shown beside the verdict, which rests on none of it.",
    )


@flow(name="money-hud", flow_run_name="hud-of-{request.benchmark_id}")
def money_hud(request: MoneyHudRequest) -> Decided:
    """Returns the verdict's id, outcome and winner."""
    check_measured(request.benchmark_id)
    check_evaluations(request.evaluation_set_id)
    return decide_and_show(request)


def decide_and_show(request: MoneyHudRequest) -> Decided:
    """The same for a chain whose steps have checked what they hand over, which takes seconds of large ones."""
    book_sha256 = register_prices(request.price_book)
    check_price_book(book_sha256)
    declare_plans(
        request.benchmark_id,
        incumbent=request.incumbent,
        rules=request.rules.model_dump(),
        judge=request.judge,
        price_book=request.price_book,
    )
    decided = decide(request.benchmark_id, request.evaluation_set_id, request.price_book, request.price_per_view_usd)
    weigh_money(decided.verdict_id, request.price_book, request.planned_production)
    report_hud(decided.verdict_id)
    return decided
