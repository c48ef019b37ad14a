"""Declaring verdict plans: written once per benchmark, before any of its results is read, and never changed.

One plan per judge that may come to judge: when the first judge fails in the middle, the whole comparison goes to the
fallback judge, whose plan was declared beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from pointsman.benchmark import input_set, matrix_run, plan_cells
from pointsman.canonical import canonical_json
from pointsman.decision.over_time import share_risk
from pointsman.decision.plan import DEFAULT_RULES, PlannedInput, VerdictPlan
from pointsman.errors import Conflict, InputRefused, NotFound
from pointsman.ids import VariantId, check_id
from pointsman.model import InputSet
from pointsman.quality import JudgeIdentity
from pointsman.storage import tables
from pointsman.version import code_version
from pointsman.workspace import Workspace

_NEVER_LATE = ("alpha_per_year", "cooldown_days")
"""Rules which only hold a decision back, so that nobody gains by choosing them late."""


def _path(benchmark_id: str) -> str:
    return f"verdict-plans/{check_id('benchmark id', benchmark_id)}.json"


def declare_plans(ws: Workspace, benchmark_id: str, plans: Sequence[VerdictPlan]) -> tuple[VerdictPlan, ...]:
    """Declare `plans`, unless the benchmark has declared plans already; return those that hold.

    Raises `Conflict` when other plans were declared before: a plan that could be changed later would prove nothing.
    """
    document = canonical_json([plan.as_document() for plan in plans])
    path = _path(benchmark_id)
    if not ws.results.exists(path):
        ws.results.write(path, document)
    elif ws.results.read(path) != document:
        raise Conflict(
            f"Other rules were declared for {benchmark_id} before its data was read.",
            instruction=f"pointsman hud show {benchmark_id}",
            code="plan_declared",
        )
    return tuple(plans)


def declared_plans(ws: Workspace, benchmark_id: str) -> tuple[VerdictPlan, ...]:
    """The plans of a benchmark. Raises `NotFound` when none was declared."""
    path = _path(benchmark_id)
    if not ws.results.exists(path):
        raise NotFound("verdict plan", benchmark_id, "a benchmark whose plan was declared")
    return tuple(VerdictPlan.from_document(document) for document in json.loads(ws.results.read(path)))


def require_sequential(ws: Workspace, benchmark_id: str, judge: JudgeIdentity) -> VerdictPlan:
    """The plan by which a matrix may be looked at before its end.

    Raises `InputRefused` when none was declared for this judge, or one that is not sequential.
    """
    declared = declared_plans(ws, benchmark_id) if ws.results.exists(_path(benchmark_id)) else ()
    for plan in declared:
        if plan.sequential and dict(plan.judge) == {name: str(value) for name, value in judge.as_document().items()}:
            return plan
    raise InputRefused(
        "look_with",
        judge.name,
        f"a judge for whom a sequential plan was declared of {benchmark_id}",
        instruction="Start it by choose-route with `sequential` among its rules, which declares the plan.",
    )


def draw_up_plans(
    *,
    incumbent: VariantId,
    challengers: Sequence[VariantId],
    inputs: InputSet,
    repeats: int,
    seed: int,
    judges: Sequence[JudgeIdentity],
    price_book_sha256: str,
    rules: Mapping[str, Any],
) -> list[VerdictPlan]:
    """One plan per judge. `rules`: the margins, alpha, swaps and deliveries of `VerdictPlan` by name.

    A sequential plan takes the inputs in the order in which a matrix of this seed is done with them.
    """
    done = dict.fromkeys([member.input_id for member in inputs.members], 0)
    if rules.get("sequential"):
        ways = [incumbent, *challengers]
        for cell in plan_cells(ways, inputs.members, repeats=repeats, seed=seed, round_cells=1):
            done[cell.input_id] = cell.round
    planned = tuple(
        PlannedInput(member.input_id, member.cluster)
        for member in sorted(inputs.members, key=lambda member: done[member.input_id])
    )
    return [
        VerdictPlan(
            incumbent=incumbent,
            challengers=tuple(challengers),
            inputs=planned,
            repeats=repeats,
            seed=seed,
            judge={name: str(value) for name, value in judge.as_document().items()},
            input_set_sha256=inputs.sha256,
            price_book_sha256=price_book_sha256,
            code_version=code_version(),
            **rules,
        )
        for judge in judges
    ]


def plans_for_benchmark(
    ws: Workspace,
    benchmark_id: str,
    *,
    incumbent: str,
    rules: Mapping[str, Any],
    judges: Sequence[JudgeIdentity],
    price_book_sha256: str,
) -> tuple[VerdictPlan, ...]:
    """The plans declared for a benchmark; when there are none yet, those that follow from its matrix are declared.

    Once a judge was heard, somebody may have looked: only the default rules can be declared then, and those which do no
    more than share a year's risk and let the route rest. Raises `InputRefused` for other rules then, and for an
    incumbent that was not measured, before anything is declared.
    """
    if ws.results.exists(_path(benchmark_id)):
        return declared_plans(ws, benchmark_id)
    matrix = matrix_run(ws, benchmark_id)
    beaten = VariantId.parse(incumbent)
    measured = [one.id for one in matrix.variants]
    if beaten not in measured:
        raise InputRefused(
            "incumbent",
            incumbent,
            f"a variant that {benchmark_id} measured: {', '.join(map(str, measured))}",
            instruction="Name one of them as the incumbent, or measure again together with the one that serves.",
        )
    if _is_judged(ws, benchmark_id):
        _require_default(benchmark_id, rules)
    plans = draw_up_plans(
        incumbent=beaten,
        challengers=[one for one in measured if one != beaten],
        inputs=input_set(ws, matrix.input_set_id),
        repeats=matrix.repeats,
        seed=matrix.seed,
        judges=judges,
        price_book_sha256=price_book_sha256,
        rules=rules,
    )
    return declare_plans(ws, benchmark_id, share_risk(ws, benchmark_id, plans))


def _is_judged(ws: Workspace, benchmark_id: str) -> bool:
    table = tables.quality_evaluations
    heard = sa.select(table.c.id).where(table.c.benchmark_id == benchmark_id).limit(1)
    with ws.database.connect() as connection:
        return connection.execute(heard).first() is not None


def _require_default(benchmark_id: str, rules: Mapping[str, Any]) -> None:
    for name, value in rules.items():
        if name not in _NEVER_LATE and value != DEFAULT_RULES[name]:
            raise InputRefused(
                f"rules, {name}",
                value,
                f"{DEFAULT_RULES[name]}, because {benchmark_id} was judged before its rules were declared",
                instruction="Leave it out, or measure again by choose-route, which declares its rules first.",
                code="declared_too_late",
            )
