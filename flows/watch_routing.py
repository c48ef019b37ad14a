"""watch-routing: does the gateway show what is recorded, and does production keep what the verdict promised?"""

from __future__ import annotations

from prefect import flow
from prefect.runtime import flow_run
from pydantic import BaseModel, ConfigDict, Field

from flows.benchmark_matrix import BenchmarkMatrixRequest, benchmark_matrix
from flows.evaluate_quality import EvaluateQualityRequest, evaluate_quality
from pointsman.errors import Cancelled, Conflict, DependencyDown, GuardRefused, InputRefused, PointsmanError, RunFailed
from tasks.cancelling import cancel_judging
from tasks.production import enter_with_watch, once_agreed
from tasks.routing import roll_back
from tasks.watch import (
    confirm_switch,
    hold_to_promise,
    look_at_route,
    may_go_back,
    report_watch,
    sample_route,
)
from tasks.watched import Watched, gone_back, what_to_do


class WatchRoutingRequest(BaseModel):
    """A route, and the jobs that show how it does."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    route_key: str = Field(title="Route", description="er:<id>:env:<id>:stage:<stage>")
    input_set: str = Field(title="Input set", description="Inputs of the jobs.", max_length=64)
    jobs: int = Field(20, title="Routed jobs", description="Sent as traffic is.", ge=1, le=1000)
    mirror: bool = Field(
        True, title="Mirror", description="Also run the variant on every input, judge and price what comes out."
    )
    judge: str = Field("auto", title="Judge", description="Name of a saved judge block: auto, local or gemini.")
    price_book: str = Field("default", title="Price book", description="Name of a saved price book block.")
    budget_usd: float | None = Field(
        None, title="Budget (USD)", description="Stop the mirrored jobs when they have cost more.", gt=0, le=1e6
    )
    gateway: str | None = Field(
        None,
        title="Gateway",
        description="Name of a saved routing gateway block: where a new route is shown. Empty: `default`; a route that "
        "is bound has its own.",
    )
    target: str = Field("lab", title="Target", description="Name of the target block that serves the route.")
    production: str | None = Field(
        None,
        title="Production",
        description="Only for a route of production: the id of that environment, to say so. The routed jobs and the "
        "mirrored ones are then agreed to by somebody else.",
        max_length=64,
    )
    run_id: str | None = Field(
        None,
        title="Run id",
        description="Names the look. The same id again continues it; empty: the flow run's own id.",
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
    )


@flow(name="watch-routing", flow_run_name="watch-{request.route_key}", on_cancellation=[cancel_judging])
def watch_routing(request: WatchRoutingRequest) -> Watched:
    """Returns what was found. Raises `RunFailed` (`routing_drift`) when the gateway shows something else, routed jobs
    go elsewhere or a promise is broken, after going back where the rules of the route let it; and what ended the
    mirrored jobs too early. In production its jobs pass the guard.
    """
    run_id = request.run_id or flow_run.id
    watched = look_at_route(request.route_key, request.gateway)
    failed = None
    if watched.variant is not None:
        serves = watched.variant
        consent = once_agreed(
            lambda: enter_with_watch(
                request.route_key,
                serves,
                run_id,
                input_set_id=request.input_set,
                jobs=request.jobs,
                price_book=request.price_book,
                production=request.production,
            )
        )
        watched = sample_route(watched, run_id, request.target, request.input_set, request.jobs, consent)
        benchmark_id, evaluation_set_id, failed = mirrored(serves, run_id, request)
        not_mirrored = failed.message if failed else "" if request.mirror else "no mirrored jobs were asked for"
        watched = hold_to_promise(watched, benchmark_id, evaluation_set_id, not_mirrored, request.price_book)
    if watched.broken and watched.drifted and may_go_back(request.route_key, request.gateway):
        watched = gone_back_from(watched, run_id, request.gateway)
    watched = confirm_switch(watched)
    report_watch(watched, request.price_book)
    if watched.drifted:
        raise RunFailed(
            f"{request.route_key} has drifted: {watched.drifted}.{gone_back(watched)}",
            instruction=what_to_do(watched),
            code="routing_drift",
        )
    if failed is not None:
        raise failed
    return watched


def gone_back_from(watched: Watched, run_id: str, gateway: str | None) -> Watched:
    """After going back, or as overtaken where somebody else was quicker to change the route."""
    try:
        back = roll_back(watched.route_key, watched.generation, run_id, gateway, f"production: {watched.broken}")
    except Conflict as theirs:
        newer = theirs.data.get("newest", theirs.data.get("current"))
        if newer is None:
            raise
        return watched.model_copy(update={"overtaken_by": newer})
    return watched.model_copy(update={"rolled_back_to": back.generation})


def mirrored(
    variant: str, run_id: str, request: WatchRoutingRequest
) -> tuple[str | None, str | None, PointsmanError | None]:
    """The benchmark and the evaluation set of jobs that the variant alone was sent, or what ended them too early.

    What routed jobs show is then held to the promise all the same. Nothing where no such jobs are wanted.
    """
    if not request.mirror:
        return None, None, None
    try:
        benchmark_id = benchmark_matrix.fn(
            BenchmarkMatrixRequest(
                variants=(variant,),
                input_set=request.input_set,
                price_book=request.price_book,
                budget_usd=request.budget_usd,
                production=request.production,
                run_id=run_id,
            )
        )
        evaluation_set_id = evaluate_quality.fn(
            EvaluateQualityRequest(benchmark_id=benchmark_id, judge=request.judge, price_book=request.price_book)
        )
    except (GuardRefused, InputRefused, RunFailed, DependencyDown) as error:
        if isinstance(error, Cancelled) or error.code == "awaiting_approval":
            raise
        return None, None, error
    return benchmark_id, evaluation_set_id, None
