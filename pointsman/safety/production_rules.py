"""The guard of production: everything that must be so before a run against production begins, in one place. Pure.

Two keys are needed: the request names the environment, and somebody else gave an approval. Around them stand the lists
of what is allowed where runs are executed, what AWS says of the place, and caps on rate, money and blast radius. What
could not be learnt is `Missing`, and breaks the rule that needs it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal

from pointsman.errors import GuardRefused
from pointsman.model import Missing
from pointsman.safety.approvals import VALID_FOR, Approval
from pointsman.safety.guards import Refusal, guards, refusals
from pointsman.safety.production import SCOPE, Place, ProductionPlan, ProductionRules, not_alone
from pointsman.settings import ENVIRONMENT_NAMES

UNDECIDED = frozenset({"approval_missing", "approval_undecided"})
"""What only waiting for somebody's consent mends."""
LARGEST_SHARE = Decimal("0.5")
"""Of a group's healthy machines: how many a run may take away at most."""


def violations(plan: ProductionPlan, rules: ProductionRules) -> tuple[Refusal, ...]:
    """Every rule that the plan breaks, not only the first; a plan that breaks none may begin."""
    asked = (_names, _approval, _account, _region, _cluster, _group, _size, _alone, _faults, _brakes)
    return tuple(refusal for rule in asked for refusal in rule(plan, rules))


def refused(plan: ProductionPlan, broken: Sequence[Refusal]) -> GuardRefused:
    """The error that names each rule."""
    said = " ".join(f"[{one.code}] {one.message}" for one in broken)
    count = "a rule" if len(broken) == 1 else f"{len(broken)} rules"
    return GuardRefused(
        f"The run {plan.run_id} against production breaks {count}. {said}",
        instruction=broken[0].instruction
        if len(broken) == 1
        else f"What to do about each: pointsman logs --run {plan.run_id} --json",
        code="production_refused",
        rules=[one.code for one in broken],
    )


def _names(plan: ProductionPlan, rules: ProductionRules) -> Iterator[Refusal]:
    if plan.named is None:
        yield Refusal(
            "production_not_named",
            f"The environment {plan.place.id} is production, and the request does not say so.",
            f"If production is meant: --production {plan.place.id}, or `production` of the request.",
        )
    elif plan.named != plan.place.id:
        yield Refusal(
            "production_named_another",
            f"The request names {plan.named}; the variant belongs to {plan.place.id}.",
            "Name the environment of the variant, or choose a variant of the environment.",
        )
    if plan.place.kind != "production":
        yield Refusal(
            "environment_not_registered",
            f"The environment {plan.place.id} is not registered as production.",
            "Register it: pointsman environments add --help",
        )
    if not plan.requester.may("operator"):
        yield Refusal(
            "role_too_low",
            f"{plan.requester.name} is {plan.requester.role}; a run against production takes an operator.",
            "Set POINTSMAN_TOKEN to a token of that role; an admin makes one: `pointsman token create`.",
        )


def _approval(plan: ProductionPlan, rules: ProductionRules) -> Iterator[Refusal]:
    found, again = plan.approval, "Start it under another run id, which asks again."
    if found is None:
        yield Refusal("approval_missing", "Nobody has been asked to approve it.", "Start it: that asks.")
        return
    state = found.state(plan.at)
    if state == "waiting":
        yield Refusal("approval_undecided", f"{found.id} is not decided yet.", f"pointsman approve {found.id}")
    if found.decision == "rejected":
        why = f": {found.reason}" if found.reason else "."
        yield Refusal("approval_rejected", f"{found.decided_by} rejected {found.id}{why}", again)
    if plan.at >= found.expires_at:
        yield Refusal("approval_expired", f"{found.id} was good until {found.expires_at:%F %T} UTC.", again)
    if found.expires_at - found.requested_at > VALID_FOR:
        yield Refusal("approval_too_long", f"{found.id} is good for longer than {VALID_FOR}.", again)
    if found.decided_by is not None and found.decided_by in (found.requester, plan.requester.name):
        yield Refusal(
            "own_approval",
            f"{found.decided_by} decided {found.id}, and asked for it or starts the run.",
            "Let somebody else decide, with a token of their own name in POINTSMAN_TOKEN.",
        )
    if found.scope != SCOPE:
        yield Refusal("approval_of_another_kind", f"{found.id} is for a {found.scope}, not a {SCOPE}.", again)
    if found.subject_id != plan.run_id and not _of_search(found, plan):
        yield Refusal("approval_of_another_run", f"{found.id} is for the run {found.subject_id}.", again)
    if found.environment_id != plan.place.id:
        yield Refusal(
            "approval_of_another_place", f"{found.id} is for {found.environment_id}, not {plan.place.id}.", again
        )
    if plan.intent.usd > plan.approved_usd:
        yield Refusal(
            "approval_over_limit",
            f"{found.id} has {plan.approved_usd} USD left; the run may cost {plan.intent.usd} USD.",
            again,
        )
    if found.limit_per_s is None or plan.per_s > found.limit_per_s:
        yield Refusal(
            "approval_over_rate",
            f"{found.id} is for {found.limit_per_s or 0} dispatches in a second; the run sends {plan.per_s}.",
            again,
        )


def _of_search(found: Approval, plan: ProductionPlan) -> bool:
    """An approval that a step of a capacity search asked for is good for its other steps."""
    steps = [one.rpartition("-") for one in (found.subject_id, plan.run_id)]
    return all(search == plan.parent_run_id and number.isdigit() for search, _, number in steps)


def _account(plan: ProductionPlan, rules: ProductionRules) -> Iterator[Refusal]:
    registered, seen = plan.place.account, plan.seen.account
    if registered is None:
        yield _unregistered(plan, "account")
    elif registered not in rules.accounts:
        yield _not_listed("account", registered, "production_accounts")
    if isinstance(seen, Missing):
        yield _unknown("account", f"AWS did not say which account this is: {seen.reason}")
    elif seen != registered:
        yield Refusal(
            "wrong_account",
            f"The credentials are those of account {seen}; {plan.place.id} is in {registered}.",
            "aws sts get-caller-identity",
        )


def _region(plan: ProductionPlan, rules: ProductionRules) -> Iterator[Refusal]:
    if plan.place.region is None:
        yield _unregistered(plan, "region")
    elif plan.place.region not in rules.regions:
        yield _not_listed("region", plan.place.region, "production_regions")


def _cluster(plan: ProductionPlan, rules: ProductionRules) -> Iterator[Refusal]:
    place, seen = plan.place, plan.seen.cluster
    if place.cluster is None:
        if place.group is None:
            yield _unregistered(plan, "cluster")
        return
    if place.cluster not in rules.clusters:
        yield _not_listed("cluster", place.cluster, "production_clusters")
    if isinstance(seen, Missing):
        yield _unknown("cluster", f"The ECS cluster {place.cluster} was not seen to be active: {seen.reason}")
    elif not _lies_in(seen, place):
        yield _elsewhere("cluster", seen, place)


def _group(plan: ProductionPlan, rules: ProductionRules) -> Iterator[Refusal]:
    place, seen = plan.place, plan.seen.group
    if place.group is None:
        return
    if place.group not in rules.groups:
        yield _not_listed("group", place.group, "production_groups")
    if isinstance(seen, Missing):
        yield _unknown("group", f"The Auto Scaling group {place.group} was not seen: {seen.reason}")
        return
    if not _lies_in(seen.arn, place):
        yield _elsewhere("group", seen.arn, place)
    if seen.healthy < max(seen.wanted, 1):
        yield Refusal(
            "group_degraded",
            f"Of {seen.wanted} machines that {place.group} should have, {seen.healthy} are healthy.",
            f"aws autoscaling describe-auto-scaling-groups --auto-scaling-group-names {place.group}",
        )


def _size(plan: ProductionPlan, rules: ProductionRules) -> Iterator[Refusal]:
    limits = rules.within(plan.limits)
    yield from refusals(guards(limits, month=plan.month, spent=plan.spent_usd), plan.intent)
    if plan.per_s > rules.per_s:
        yield Refusal(
            "over_production_rate",
            f"It sends {plan.per_s} dispatches in a second; against production at most {rules.per_s} are allowed.",
            f"Lower its rates, or raise {ENVIRONMENT_NAMES['max_production_per_s']} where the run is executed.",
        )


def _alone(plan: ProductionPlan, rules: ProductionRules) -> Iterator[Refusal]:
    if (refusal := not_alone(plan.place.id, plan.going_on)) is not None:
        yield refusal


def _faults(plan: ProductionPlan, rules: ProductionRules) -> Iterator[Refusal]:
    if not plan.taken_away:
        return
    yield Refusal(
        "fault_in_production",
        "It has a fault; faults are injected in local, test_asg and staging.",
        "Run it with fault_enabled: false, or against a variant of another environment.",
    )
    seen = plan.seen.group
    if isinstance(seen, Missing) or plan.taken_away > LARGEST_SHARE * seen.healthy:
        known = "an unknown number of" if isinstance(seen, Missing) else str(seen.healthy)
        yield Refusal(
            "blast_radius",
            f"Its faults take {plan.taken_away} of {known} healthy machines; at most half may go.",
            "Lower `instances` of the fault.",
        )


def _brakes(plan: ProductionPlan, rules: ProductionRules) -> Iterator[Refusal]:
    lever, alarms = plan.seen.lever, plan.seen.alarms
    if isinstance(lever, Missing):
        yield _unknown("safety_lever", f"The FIS safety lever could not be read: {lever.reason}")
    elif lever != "disengaged":
        yield Refusal(
            "safety_lever_engaged",
            f"The FIS safety lever of the account is {lever}.",
            "Ask whoever engaged it: aws fis get-safety-lever --id default",
        )
    if not rules.alarms:
        yield Refusal(
            "alarms_not_named",
            "No alarm is named that would stop the run.",
            f"Name those of production in {ENVIRONMENT_NAMES['production_alarms']} where the run is executed.",
        )
        return
    if isinstance(alarms, Missing):
        yield _unknown("alarms", f"The alarms could not be read: {alarms.reason}")
        return
    look = f"aws cloudwatch describe-alarms --alarm-names {' '.join(rules.alarms)}"
    if absent := [name for name in rules.alarms if alarms.get(name) is None]:
        yield Refusal("alarm_absent", f"There is no alarm {', '.join(absent)} in the account and region.", look)
    if ringing := [name for name in rules.alarms if alarms.get(name) == "ALARM"]:
        yield Refusal("alarm_rings", f"In ALARM already: {', '.join(ringing)}.", look)


def _unregistered(plan: ProductionPlan, what: str) -> Refusal:
    return Refusal(
        f"{what}_not_registered",
        f"The environment {plan.place.id} is registered without its {what}.",
        "Register the rest of it: pointsman environments add --help",
    )


def _not_listed(what: str, value: str, setting: str) -> Refusal:
    return Refusal(
        f"{what}_not_allowed",
        f"The {what} {value} is not among those allowed for production.",
        f"If it should be, add it to {ENVIRONMENT_NAMES[setting]} where the run is executed.",
    )


def _unknown(what: str, message: str) -> Refusal:
    ended = message if message.endswith(".") else f"{message}."
    return Refusal(f"{what}_unknown", ended, "Check the role and network of this process: aws sts get-caller-identity")


def _lies_in(arn: str, place: Place) -> bool:
    """Whether an ARN is of the account and region of the place."""
    parts = arn.split(":")
    return len(parts) > 4 and (parts[3], parts[4]) == (place.region, place.account)


def _elsewhere(what: str, arn: str, place: Place) -> Refusal:
    return Refusal(
        f"{what}_elsewhere",
        f"{arn} is not in account {place.account}, region {place.region}.",
        "Correct what is registered: pointsman environments add --help",
    )
