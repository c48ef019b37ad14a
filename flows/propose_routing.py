"""propose-routing: judge a matrix that has ended, decide, and say which binding that would be. It changes nothing.

An automation of `deployments.bootstrap --propose` starts it for every matrix that was run on its own.
"""

from __future__ import annotations

from prefect import flow
from pydantic import BaseModel, ConfigDict, Field

from flows.apply_routing import ApplyRoutingRequest, apply_routing
from flows.evaluate_quality import EvaluateQualityRequest, evaluate_quality
from flows.money_hud import ComparisonRules, MoneyHudRequest, money_hud
from pointsman.ids import benchmark_id
from tasks.cancelling import cancel_judging
from tasks.economics import Decided
from tasks.routing import Moved, route_of_benchmark


class ProposeRoutingRequest(BaseModel):
    """A matrix that has ended, by the run that made it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    of_run: str = Field(
        title="Run", description="Run id of the matrix: its flow run's own, where none was given.", max_length=64
    )
    judge: str = Field("auto", title="Judge", description="Name of a saved judge block: auto, local or gemini.")
    rules: ComparisonRules = Field(ComparisonRules(), title="Rules", description="What would count as better.")
    price_book: str = Field("default", title="Price book", description="Name of a saved price book block.")


class Proposal(BaseModel):
    """What was decided, and the change that a winner asks for."""

    decided: Decided
    change: Moved | None


@flow(name="propose-routing", flow_run_name="propose-after-{request.of_run}", on_cancellation=[cancel_judging])
def propose_routing(request: ProposeRoutingRequest) -> Proposal:
    """The incumbent is what serves the route of the matrix now."""
    bm_id = benchmark_id(request.of_run)
    route = route_of_benchmark(bm_id)
    evaluation_set_id = evaluate_quality.fn(
        EvaluateQualityRequest(benchmark_id=bm_id, judge=request.judge, price_book=request.price_book)
    )
    decided = money_hud.fn(
        MoneyHudRequest(
            benchmark_id=bm_id,
            evaluation_set_id=evaluation_set_id,
            incumbent=route.incumbent,
            rules=request.rules,
            judge=request.judge,
            price_book=request.price_book,
        )
    )
    if decided.outcome != "WINNER":
        return Proposal(decided=decided, change=None)
    change = apply_routing.fn(
        ApplyRoutingRequest(
            route_key=route.route_key,
            verdict_id=decided.verdict_id,
            expected_generation=route.generation,
            dry_run=True,
            input_set=route.input_set,
            run_id=request.of_run,
        )
    )
    return Proposal(decided=decided, change=change)
