"""Tasks of proposing a change after a matrix: of which route, whether that was done, and what speaks against it."""

from __future__ import annotations

import json

from prefect import task
from pydantic import BaseModel, ConfigDict

from pointsman import routing
from pointsman.benchmark import matrix_run
from pointsman.errors import GuardRefused
from pointsman.ids import RouteKey, VariantId, derive
from tasks.opening import open_workspace
from tasks.policies import RECORD


class RouteOfBenchmark(BaseModel):
    """Which route a matrix is about, and what served it when a change was first thought of."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    route_key: str
    incumbent: str
    generation: int
    input_set: str


class Standing(BaseModel):
    """What became of the change that a matrix led to: `by_us`, this run asked for it; `why`, another one did."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    by_us: bool = False
    why: str = ""


@task(name="route-of-benchmark", **RECORD)
def route_of_benchmark(bm_id: str) -> RouteOfBenchmark:
    """Fixed when first asked: a run that waited for consent goes on with what it asked for.

    Raises `GuardRefused` (`no_incumbent`) when no one variant serves the route, or the matrix did not run it, and
    (`no_challenger`) when it ran nothing else.
    """
    ws = open_workspace()
    path = f"routing/proposals/{bm_id}.json"
    if ws.results.exists(path):
        return RouteOfBenchmark.model_validate(json.loads(ws.results.read(path)))
    run = matrix_run(ws, bm_id)
    key = run.variants[0].id.route_key
    now = routing.current(ws, key)
    show = f"pointsman route show {key}"
    if now is None or now.sole_variant is None:
        raise GuardRefused(
            f"No variant alone serves {key} now, so there is none to compare with.",
            instruction=show,
            code="no_incumbent",
        )
    others = [one.id for one in run.variants if one.id != now.sole_variant]
    if len(others) == len(run.variants):
        raise GuardRefused(
            f"{now.sole_variant.label} serves {key} now, and the matrix {bm_id} did not run it.",
            instruction=show,
            code="no_incumbent",
        )
    if not others:
        raise GuardRefused(
            f"The matrix {bm_id} ran nothing but what serves {key} now.", instruction=show, code="no_challenger"
        )
    found = RouteOfBenchmark(
        route_key=str(key), incumbent=str(now.sole_variant), generation=now.generation, input_set=run.input_set_id
    )
    ws.results.write_json(path, found.model_dump(mode="json"))
    return found


@task(name="standing-proposal", **RECORD)
def standing_proposal(of_run: str) -> Standing:
    """Whether the change was asked for already: the event that a matrix has ended may come more than once."""
    ws = open_workspace()
    found = routing.asked_for_with(ws, derive("apply", of_run))
    if found is None:
        return Standing()
    approval = routing.consent_to(ws, found)
    if approval is not None and approval.waiter == ws.actor:
        return Standing(by_us=True)
    if approval is not None and approval.state(ws.clock.now()) == "waiting":
        what = f"waits: pointsman approve {approval.id}"
    else:
        what = f"is {found.status.replace('_', ' ')}."
    return Standing(why=f"It was asked for before; generation {found.binding.generation} {what}")


@task(name="speaks-against", **RECORD)
def speaks_against(route_key: str, winner: str, verdict_id: str) -> str:
    """Why the change cannot be asked for by itself; empty when it can."""
    weights = {VariantId.parse(winner): 100}
    return routing.speaks_against(open_workspace(), RouteKey.parse(route_key), weights, verdict_id)
