"""choose-route: the whole chain. Measure every candidate, judge, price, decide, and move the route to the winner."""

from __future__ import annotations

from prefect import flow
from prefect.runtime import flow_run
from pydantic import BaseModel, ConfigDict, Field

from flows.apply_routing import ApplyRoutingRequest, apply_routing
from flows.benchmark_matrix import BenchmarkMatrixRequest, EarlyStop, benchmark_matrix
from flows.evaluate_quality import EvaluateQualityRequest, evaluate_quality
from flows.money_hud import ComparisonRules, MoneyHudRequest, decide_and_show
from flows.run_scenario import RunScenarioRequest, run_scenario
from pointsman.economics import Production
from pointsman.preparation import Preparation
from pointsman.routing import CanaryRules
from pointsman.scenario import Scenario
from tasks.cancelling import cancel_judging
from tasks.economics import Decided
from tasks.prepare import prepare
from tasks.routing import Moved


class ChooseRouteRequest(BaseModel):
    """One route, its candidates, and what would count as better."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    route_key: str = Field(
        title="Route", description="er:<id>:env:<id>:stage:<stage>", json_schema_extra={"position": 0}
    )
    input_set: str = Field(
        title="Input set", description="Id of a registered input set.", max_length=64, json_schema_extra={"position": 1}
    )
    dry_run: bool = Field(
        True,
        title="Dry run",
        description="Stop after the verdict; change no routing.",
        json_schema_extra={"position": 2},
    )
    variants: tuple[str, ...] = Field(
        (), title="Candidates", description="Variant ids; empty: every enabled variant of the route.", max_length=200
    )
    incumbent: str | None = Field(
        None, title="Incumbent", description="Id of the variant to beat; empty: what the route's binding names."
    )
    scenario: Scenario | None = Field(
        None, title="Scenario", description="The load every candidate is put under in turn; empty: no load test."
    )
    repeats: int = Field(1, title="Repeats", description="Runs of each variant on each input.", ge=1, le=100)
    in_flight_per_provider: int = Field(
        2, title="In flight per provider", description="Jobs at one provider at the same time.", ge=1, le=1000
    )
    drain_limit_s: float = Field(
        300.0,
        title="Drain limit (s)",
        description="Seconds that a round of the matrix may learn nothing before its open cells count as unknown: "
        "more than the longest job takes, its time in a queue included.",
        gt=0,
        le=86_400,
    )
    round_cells: int = Field(84, title="Cells per round", description="A round is retried as one.", ge=1, le=5000)
    chunk_size: int = Field(
        84,
        title="Per chunk",
        description="Cells, and later outputs to judge, of one task where tasks elsewhere do the work.",
        ge=1,
        le=1000,
    )
    judge: str = Field("auto", title="Judge", description="Name of a saved judge block: auto, local or gemini.")
    rules: ComparisonRules = Field(ComparisonRules(), title="Rules", description="What would count as better.")
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
    budget_usd: float | None = Field(
        None, title="Budget (USD)", description="Stop when the attempts have cost more.", gt=0, le=1e6
    )
    early_stop: EarlyStop | None = Field(
        None, title="Early stop", description="By what rule a candidate is given up; empty: each is given every cell."
    )
    gateway: str | None = Field(
        None,
        title="Gateway",
        description="Name of a saved routing gateway block: where a new route is shown. Empty: `default`; a route that "
        "is bound has its own.",
    )
    target: str = Field("lab", title="Target", description="Name of the target block that serves the route.")
    canary: CanaryRules | None = Field(
        None, title="Canary", description="Go to the winner in steps and look at each; empty: all at once."
    )
    probe_jobs: int = Field(6, title="Probe jobs", description="Routed jobs that prove the change.", ge=1, le=1000)
    production: str | None = Field(
        None,
        title="Production",
        description="Only for a route of production: the id of that environment, to say so.",
        max_length=64,
    )
    fall_back_inline: bool = Field(
        False,
        title="Fall back",
        description="Where shards and chunks are to run on ECS and that cannot be used: work in this flow run.",
    )
    seed: int = Field(1, title="Seed", description="Fixes arrivals, orders and the test.", ge=0, lt=2**31)
    run_id: str | None = Field(
        None,
        title="Run id",
        description="Names the run. The same id again continues it; empty: the flow run's own id.",
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
    )


class RouteChoice(BaseModel):
    """What came of it."""

    preparation: Preparation
    decided: Decided
    moved: Moved | None


@flow(name="choose-route", flow_run_name="choose-{request.route_key}", on_cancellation=[cancel_judging])
def choose_route(request: ChooseRouteRequest) -> RouteChoice:
    """Steps are called as plain functions: their tasks belong to this run, and no subflow costs its second."""
    run = prepare(request.run_id or flow_run.id, request)
    for variant, scenario_run_id in run.scenario_runs.items():
        assert request.scenario is not None
        run_scenario.fn(
            RunScenarioRequest(
                scenario=request.scenario,
                variant=variant,
                input_set=request.input_set,
                seed=request.seed,
                price_book=request.price_book,
                run_id=scenario_run_id,
                production=request.production,
                fall_back_inline=request.fall_back_inline,
                parent_run_id=run.run_id,
            )
        )
    benchmark_matrix.fn(
        BenchmarkMatrixRequest(
            variants=run.variants,
            input_set=request.input_set,
            repeats=request.repeats,
            seed=request.seed,
            round_cells=request.round_cells,
            chunk_size=request.chunk_size,
            in_flight_per_provider=request.in_flight_per_provider,
            drain_limit_s=request.drain_limit_s,
            price_book=request.price_book,
            budget_usd=request.budget_usd,
            early_stop=request.early_stop,
            production=request.production,
            fall_back_inline=request.fall_back_inline,
            look_with=request.judge if request.rules.sequential else None,
            run_id=run.run_id,
        )
    )
    evaluation_set_id = evaluate_quality.fn(
        EvaluateQualityRequest(
            benchmark_id=run.benchmark_id,
            incumbent=run.incumbent,
            judge=request.judge,
            price_book=request.price_book,
            chunk_size=request.chunk_size,
            fall_back_inline=request.fall_back_inline,
        )
    )
    decided = decide_and_show(
        MoneyHudRequest(
            benchmark_id=run.benchmark_id,
            evaluation_set_id=evaluation_set_id,
            incumbent=run.incumbent,
            rules=request.rules,
            judge=request.judge,
            price_book=request.price_book,
            price_per_view_usd=request.price_per_view_usd,
            planned_production=request.planned_production,
        )
    )
    if request.dry_run or decided.outcome != "WINNER":
        return RouteChoice(preparation=run, decided=decided, moved=None)
    moved = apply_routing.fn(
        ApplyRoutingRequest(
            route_key=request.route_key,
            verdict_id=decided.verdict_id,
            expected_generation=run.expected_generation,
            dry_run=False,
            gateway=request.gateway,
            target=request.target,
            input_set=request.input_set,
            canary=request.canary,
            probe_jobs=request.probe_jobs,
            price_book=request.price_book,
            production=request.production,
            run_id=run.run_id,
        )
    )
    return RouteChoice(preparation=run, decided=decided, moved=moved)
