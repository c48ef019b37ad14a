"""Is a judge trusted? Its figures against the declared policy, kept with the evaluation set, and read by guards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

import sqlalchemy as sa

from pointsman.actions import ActionLog
from pointsman.errors import GuardRefused
from pointsman.model import Json, Missing, Number
from pointsman.quality import trust_figures
from pointsman.quality.evaluation import EvaluationSet, evaluation_set
from pointsman.quality.trust_policy import TrustPolicy
from pointsman.storage import tables
from pointsman.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Trust:
    """What became of the policy's questions; `reasons` are those that the judge fails, as sentences."""

    trusted: bool
    reasons: tuple[str, ...]
    policy: TrustPolicy
    cost_usd: Number
    unchecked: str | None
    """Why second looks that were asked for did not get done."""


def assess_trust(
    ws: Workspace,
    set_id: str,
    policy: TrustPolicy,
    *,
    price: Callable[[str], Number] | None = None,
    unchecked: str | None = None,
) -> Trust:
    """Hold the set's judge against the policy and keep the answer; log `judge_untrusted` when it is news.

    Raises `NotFound`.
    """
    found = evaluation_set(ws, set_id)
    reasons = _reasons(ws, found, policy, unchecked)
    return _keep(ws, found, Trust(not reasons, reasons, policy, trust_figures.cost(ws, found, price), unchecked))


def reassess_trust(ws: Workspace, set_id: str) -> Trust | None:
    """The same with the policy and cost that are kept, after labels came in; None when it was never assessed."""
    kept = trust_of(ws, set_id)
    if kept is None:
        return None
    found = evaluation_set(ws, set_id)
    reasons = _reasons(ws, found, kept.policy, kept.unchecked)
    return _keep(ws, found, Trust(not reasons, reasons, kept.policy, kept.cost_usd, kept.unchecked))


def trust_of(ws: Workspace, set_id: str) -> Trust | None:
    """What is kept; None when the set's judge was never assessed."""
    table = tables.evaluation_sets
    with ws.database.connect() as connection:
        kept = connection.execute(sa.select(table.c.trust).where(table.c.id == set_id)).scalar()
    if kept is None:
        return None
    cost = kept["cost_usd"]
    return Trust(
        trusted=kept["trusted"],
        reasons=tuple(kept["reasons"]),
        policy=TrustPolicy.model_validate(kept["policy"]),
        cost_usd=Missing(cost["missing"]) if isinstance(cost, dict) else Decimal(cost),
        unchecked=kept["unchecked"],
    )


def ensure_trusted(ws: Workspace, set_id: str) -> None:
    """Raise `GuardRefused` (`judge_untrusted`) when the set's judge is below its policy."""
    trust = trust_of(ws, set_id)
    if trust is not None and not trust.trusted:
        benchmark_id = evaluation_set(ws, set_id).benchmark_id
        raise GuardRefused(
            f"The judge of evaluation set {set_id} is not trusted: {' '.join(trust.reasons)}",
            instruction=f"pointsman evaluate trust {benchmark_id}",
            code="judge_untrusted",
            evaluation_set_id=set_id,
            reasons=list(trust.reasons),
        )


def _reasons(ws: Workspace, found: EvaluationSet, policy: TrustPolicy, unchecked: str | None) -> tuple[str, ...]:
    reasons: list[str] = []
    again, order = trust_figures.again(ws, found.id), trust_figures.order(ws, found.id)
    people, own = trust_figures.people(ws, found), trust_figures.own_family(ws, found)
    share, why = trust_figures.fallback(ws, found)
    if unchecked is not None:
        reasons.append(f"It could not be checked ({unchecked}).")
    if isinstance(again, trust_figures.Again) and again.spread > policy.most_spread:
        reasons.append(
            f"Judging the same {again.outputs} outputs twice, one judgement spreads by {again.spread:.1f} points; "
            f"allowed: {policy.most_spread:g}."
        )
    if isinstance(order, trust_figures.Order) and order.rate > policy.most_flips:
        reasons.append(
            f"Of {order.pairs} pairs {order.flips} changed their better output with the order; "
            f"allowed: {100 * policy.most_flips:g} %."
        )
    if isinstance(people, trust_figures.People) and people.kappa.value < policy.least_agreement:
        reasons.append(
            f"On {people.outputs} outputs that people labelled it agrees with them at a weighted kappa of "
            f"{people.kappa.value:.2f} ({people.kappa.low:.2f} to {people.kappa.high:.2f}); "
            f"needed: {policy.least_agreement:g}."
        )
    if share > policy.most_fallback:
        reasons.append(f"Another judge than the one asked for judged {100 * share:g} % of the outputs ({why}).")
    versions = trust_figures.versions(ws, found.id)
    if len(versions) > 1:
        reasons.append(
            f"{len(versions)} versions of the model judged ({', '.join(versions)}), and scores of two judges do not "
            "share a scale."
        )
    if own is not None and policy.own_family == "refuse":
        labels = ", ".join(variant.label for variant in own.variants)
        reasons.append(f"It judges what its own family, {own.family}, made: {labels}.")
    for variant, (count, words) in trust_figures.words_for_the_judge(ws, found.id).items():
        reasons.append(
            f"{count} outputs of {variant.label} hold words that tell the judge what to do: {words[:200]!r}."
        )
    return tuple(reasons)


def _keep(ws: Workspace, found: EvaluationSet, trust: Trust) -> Trust:
    cost: Json = (
        {"missing": trust.cost_usd.reason} if isinstance(trust.cost_usd, Missing) else format(trust.cost_usd, "f")
    )
    document: dict[str, Json] = {
        "trusted": trust.trusted,
        "reasons": list(trust.reasons),
        "policy": trust.policy.model_dump(mode="json"),
        "cost_usd": cost,
        "unchecked": trust.unchecked,
    }
    sets, runs = tables.evaluation_sets, tables.benchmark_matrix_runs
    with ws.database.begin() as connection:
        before = connection.execute(sa.select(sets.c.trust).where(sets.c.id == found.id)).scalar()
        connection.execute(sa.update(sets).where(sets.c.id == found.id).values(trust=document))
        if not trust.trusted and (before is None or before["reasons"] != document["reasons"]):
            parent = connection.execute(sa.select(runs.c.parent_run_id).where(runs.c.id == found.benchmark_id)).scalar()
            ActionLog(ws).record_in(
                connection,
                "judge_untrusted",
                run_id=parent,
                context=found.benchmark_id,
                evaluation_set_id=found.id,
                judge=found.identity.name,
                model=found.identity.model,
                reasons=list(trust.reasons),
            )
    return trust
