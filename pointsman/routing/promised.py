"""What serves a route now, which verdict's promise it is held to, and whether a watch may take it back by itself."""

from __future__ import annotations

from dataclasses import dataclass

from pointsman.benchmark import variant
from pointsman.decision import load_verdict
from pointsman.errors import NotFound
from pointsman.ids import RouteKey, VariantId
from pointsman.routing import bindings
from pointsman.routing.gateways import Gateway
from pointsman.routing.rules import rules_of
from pointsman.versions import changed_since
from pointsman.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Promised:
    """`verdict_id` promised something of `variant`, which serves alone; or `why_none`, in words, and both are None."""

    generation: int
    variant: VariantId | None
    verdict_id: str | None
    why_none: str


def promised(ws: Workspace, route_key: RouteKey) -> Promised:
    """Raises `NotFound` for a route that nothing serves.

    What was gone back to is held to the verdict by which it served before.
    """
    known = bindings.history(ws, route_key)
    serves = next((one for one in known if one.status in bindings.SERVING), None)
    if serves is None:
        raise NotFound("binding", str(route_key), "a route that has one")
    number, sole, verdict_id = serves.binding.generation, serves.binding.sole_variant, serves.verdict_id
    if serves.step is not None:
        return Promised(number, None, None, "a canary is under way, which is looked at by itself")
    if sole is None:
        return Promised(number, None, None, "several variants share the traffic")
    if serves.kind != "apply" and verdict_id is None:
        same = (one for one in known if one.status in bindings.SERVED and one.binding.weights == serves.binding.weights)
        verdict_id = next((one.verdict_id for one in same if one.verdict_id), None)
    if verdict_id is None:
        return Promised(number, None, None, "no verdict promised anything of it")
    return Promised(number, sole, verdict_id, "")


def may_go_back(ws: Workspace, gateway: Gateway, route_key: RouteKey) -> bool:
    """Whether the rules let a watch go back by itself, to something else that is still enabled and could serve.

    What was gone back to is not taken back by itself: two that both disappoint would take turns for ever.
    """
    with ws.database.connect() as connection:
        serves = bindings.serving(connection, route_key)
        before = bindings.served_before(connection, serves) if serves else None
    if serves is None or before is None or serves.verdict_id is None or before.shares == serves.binding.shares:
        return False
    there = all(variant(ws, one).enabled for one in before.shares)
    return rules_of(ws, route_key).auto_rollback and there and not gateway.unready(route_key, before.weights)


def expired(ws: Workspace, verdict_id: str, variant: VariantId) -> str:
    """Why the variant is not what the verdict was about any more, in words; empty while no change is known."""
    return changed_since(ws, load_verdict(ws, verdict_id).benchmark_id).get(str(variant), "")
