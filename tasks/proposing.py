"""Tasks of proposing a change after a matrix: of which route, whether that was done, and what speaks against it."""

from __future__ import annotations

import json
from uuid import UUID

from prefect import task
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from pydantic import BaseModel, ConfigDict

from pointsman import routing
from pointsman.benchmark import matrix_run
from pointsman.errors import GuardRefused
from pointsman.ids import RouteKey, VariantId, derive
from pointsman.routing import BindingRecord
from pointsman.safety import Approval, wait_instead
from pointsman.workspace import Workspace
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
    """What became of the change that a matrix led to: `by_us`, it is this run's to make; `why`, it is not."""

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
    """Whether the change was asked for already: the event that a matrix has ended may come more than once.

    Whoever asked goes on with it. Where that run has died meanwhile, the first run that comes takes its place, for
    good: what is not made yet is made once, by the consent that was asked for then, and what serves is proved.
    """
    ws = open_workspace()
    found = routing.asked_for_with(ws, derive("apply", of_run))
    if found is None:
        return Standing()
    approval = routing.consent_to(ws, found)
    if approval is not None and (approval.waiter == ws.actor or _takes_over(ws, found, approval)):
        return Standing(by_us=True)
    return Standing(
        why=f"It was asked for before; generation {found.binding.generation} {_in_words(ws, found, approval)}"
    )


def _takes_over(ws: Workspace, found: BindingRecord, approval: Approval) -> bool:
    if found.status == "awaiting_approval":
        to_do = approval.state(ws.clock.now()) in ("waiting", "approved")
    else:
        to_do = found.status in ("applying", "active")
    return to_do and _has_died(approval.waiter) and wait_instead(ws, approval)


def _in_words(ws: Workspace, found: BindingRecord, approval: Approval | None) -> str:
    if approval is None or found.status != "awaiting_approval":
        return f"is {found.status.replace('_', ' ')}."
    state = approval.state(ws.clock.now())
    if state == "waiting":
        return f"waits: pointsman approve {approval.id}"
    return "is approved; another run makes it." if state == "approved" else f"was not made: {approval.id} is {state}."


def _has_died(waiter: str) -> bool:
    """Whether the flow run that waits for consent has ended without using it, or was deleted."""
    kind, _, flow_run_id = waiter.partition(":")
    if kind != "flow-run":
        return False
    with get_client(sync_client=True) as client:
        try:
            state = client.read_flow_run(UUID(flow_run_id)).state
        except ObjectNotFound:
            return True
    return state is not None and state.is_final() and not state.is_completed()


@task(name="speaks-against", **RECORD)
def speaks_against(route_key: str, winner: str, verdict_id: str) -> str:
    """Why the change cannot be asked for by itself; empty when it can."""
    weights = {VariantId.parse(winner): 100}
    return routing.speaks_against(open_workspace(), RouteKey.parse(route_key), weights, verdict_id)
