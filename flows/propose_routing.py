"""propose-routing: judge a matrix that has ended, decide, and ask for consent to the binding that a winner asks for.

An automation of `deployments.bootstrap --propose` starts it for every matrix that a deployment ran on its own.
"""

from __future__ import annotations

from prefect import flow
from pydantic import BaseModel, ConfigDict, Field

from flows.apply_routing import ApplyRoutingRequest, apply_routing
from flows.evaluate_quality import EvaluateQualityRequest, evaluate_quality
from flows.money_hud import ComparisonRules, MoneyHudRequest, decide_and_show
from pointsman.ids import benchmark_id
from tasks.cancelling import cancel_judging
from tasks.checks import check_measured
from tasks.economics import Decided, declare_plans
from tasks.proposing import route_of_benchmark, speaks_against, standing_proposal
from tasks.routing import Moved

REPEATED = ComparisonRules(alpha_per_year=0.25, cooldown_days=14)
"""Nobody counts how often a matrix is run, so its decisions share a year's risk, and a route rests after a switch."""


class ProposeRoutingRequest(BaseModel):
    """A matrix that has ended, by the run that made it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    of_run: str = Field(
        title="Run", description="Run id of the matrix: its flow run's own, where none was given.", max_length=64
    )
    judge: str = Field("auto", title="Judge", description="Name of a saved judge block: auto, local or gemini.")
    rules: ComparisonRules = Field(REPEATED, title="Rules", description="What would count as better.")
    price_book: str = Field("default", title="Price book", description="Name of a saved price book block.")
    gateway: str | None = Field(
        None,
        title="Gateway",
        description="Name of a saved routing gateway block: where a new route is shown. Empty: `default`; a route that "
        "is bound has its own.",
    )
    target: str = Field("lab", title="Target", description="Name of the target block that serves the route.")


class Proposal(BaseModel):
    """What was decided, the change that a winner asks for, and why it was not made or not asked for."""

    decided: Decided | None
    change: Moved | None
    why: str


@flow(name="propose-routing", flow_run_name="propose-after-{request.of_run}", on_cancellation=[cancel_judging])
def propose_routing(request: ProposeRoutingRequest) -> Proposal:
    """The incumbent is what served the route when this began. The change waits, suspended, until somebody agrees.

    Where something speaks against it, and in production, it is only said what the change would be. Asked again about
    the same matrix, it says what became of the first time; what a run that has died left undone it goes on with.
    """
    standing = standing_proposal(request.of_run)
    if standing.why:
        return Proposal(decided=None, change=None, why=standing.why)
    bm_id = benchmark_id(request.of_run)
    route = route_of_benchmark(bm_id)
    # Before anything is judged, which costs money: a route that rests is not decided about.
    declare_plans(
        bm_id,
        incumbent=route.incumbent,
        rules=request.rules.model_dump(),
        judge=request.judge,
        price_book=request.price_book,
    )
    evaluation_set_id = evaluate_quality.fn(
        EvaluateQualityRequest(
            benchmark_id=bm_id, incumbent=route.incumbent, judge=request.judge, price_book=request.price_book
        )
    )
    check_measured(bm_id)
    decided = decide_and_show(
        MoneyHudRequest(
            benchmark_id=bm_id,
            evaluation_set_id=evaluation_set_id,
            incumbent=route.incumbent,
            rules=request.rules,
            judge=request.judge,
            price_book=request.price_book,
        )
    )
    if decided.winner is None:
        return Proposal(decided=decided, change=None, why=f"The verdict is {decided.outcome}.")
    why = "" if standing.by_us else speaks_against(route.route_key, decided.winner, decided.verdict_id)
    change = apply_routing.fn(
        ApplyRoutingRequest(
            route_key=route.route_key,
            verdict_id=decided.verdict_id,
            expected_generation=route.generation,
            dry_run=bool(why),
            ask_first=True,
            gateway=request.gateway,
            target=request.target,
            input_set=route.input_set,
            price_book=request.price_book,
            run_id=request.of_run,
        )
    )
    return Proposal(decided=decided, change=change, why=why)
