"""A change that was thought of and not made yet: what it would be, what speaks against it, and how to make it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import sqlalchemy as sa

from pointsman.errors import GuardRefused
from pointsman.ids import RouteKey, VariantId
from pointsman.model import Binding
from pointsman.reporting import Figures, Report, escape_markdown
from pointsman.routing import bindings
from pointsman.routing.consent import in_production, waits_for_somebody
from pointsman.routing.guards import Intended, ensure_allowed
from pointsman.routing.report import in_words, shares_table
from pointsman.routing.rollouts import at_percent, check_steps
from pointsman.safety import Approval
from pointsman.workspace import Workspace


def speaks_against(
    ws: Workspace,
    route_key: RouteKey,
    weights: Mapping[VariantId, int],
    verdict_id: str | None,
    steps: Sequence[int] = (100,),
) -> str:
    """Why nobody but a person may ask for the change now, in words; empty when nothing speaks against it.

    Rules of the route, a canary or a change of somebody else that is under way, and production, which has to be named.
    """
    serving = bindings.current(ws, route_key)
    held = serving.weights if serving else weights
    path = [at_percent(held, weights, percent) for percent in check_steps(steps)]
    with ws.database.connect() as connection:
        refusals = (
            _refusal_of(lambda: ensure_allowed(ws, Intended(route_key, weights, path, serving, verdict_id))),
            _refusal_of(lambda: ensure_undisturbed(ws, connection, route_key)),
        )
    named = f"{route_key.environment} is production, which a person has to name."
    return " ".join([*([named] if in_production(ws, route_key) else []), *filter(None, refusals)])


def ensure_undisturbed(ws: Workspace, connection: sa.Connection, route_key: RouteKey) -> None:
    """Raise `GuardRefused` (`change_under_way`) for what must not overtake a change that somebody else asked for."""
    found = bindings.serving(connection, route_key)
    canary = [found] if found is not None and found.step is not None else []
    for left in (*canary, *bindings.under_way(connection, route_key)):
        if left.status != "awaiting_approval" or waits_for_somebody(ws, connection, left):
            raise GuardRefused(
                f"Generation {left.binding.generation} of {route_key} is under way: {left.status.replace('_', ' ')}.",
                instruction=f"pointsman route history {route_key}",
                code="change_under_way",
            )


def _refusal_of(check: Callable[[], None]) -> str:
    try:
        check()
    except GuardRefused as refused:
        return refused.message
    return ""


def proposal_report(
    ws: Workspace,
    route_key: RouteKey,
    weights: Mapping[VariantId, int],
    *,
    cause: str,
    verdict_id: str | None,
    steps: Sequence[int] = (100,),
    approval: Approval | None = None,
) -> Report:
    """What the change would be, at once or in `steps`, and what speaks against it; or the `approval` it waits for."""
    serving = bindings.current(ws, route_key)
    after = Binding(route_key, serving.generation + 1 if serving else 1, weights, cause)
    facts: list[tuple[str, str]] = [("route", str(route_key)), ("cause", cause)]
    if approval is None:
        by_hand = f"pointsman route apply --variant {after.sole_variant}"
        command = f"pointsman route apply --verdict {verdict_id}" if verdict_id else by_hand
        command += f" --canary {','.join(map(str, steps))}" if len(steps) > 1 else ""
        command += f" --production {route_key.environment}" if in_production(ws, route_key) else ""
        against = speaks_against(ws, route_key, weights, verdict_id, steps)
        facts.append(("what speaks against it", against or "nothing"))
        facts.append(("to do it", command))
    else:
        facts.append(("waits for somebody else until", f"{approval.expires_at:%F %T} UTC"))
        facts.append(("to do it", f"pointsman approve {approval.id}"))
        facts.append(("not to do it", f"pointsman approve {approval.id} --reject"))
    now = escape_markdown(in_words(serving)) if serving else "nothing yet"
    summary = f"Traffic of `{route_key}` would go to {escape_markdown(in_words(after))}; now it goes to {now}."
    return Report(f"Proposed routing of {route_key}", summary, (Figures(facts), shares_table(serving, after)))
