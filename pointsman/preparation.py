"""The first step of choosing a route: turn a request into the ids and the declared plan that every later step uses."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from pointsman.benchmark import input_set, list_variants, variant, withheld
from pointsman.canonical import sha256_of
from pointsman.decision import declare_plans, draw_up_plans, share_risk
from pointsman.errors import Conflict, InputRefused
from pointsman.ids import RouteKey, VariantId, benchmark_id, check_id, derive
from pointsman.model import InputSet, Variant
from pointsman.quality import JudgeIdentity
from pointsman.routing import current
from pointsman.workspace import Workspace


class Preparation(BaseModel):
    """What a choose-route run is about: fixed when it starts, read again when it continues."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    run_id: str
    request_sha256: str
    route_key: str
    incumbent: str
    variants: tuple[str, ...]
    """The incumbent first."""
    expected_generation: int | None
    benchmark_id: str
    scenario_runs: dict[str, str]
    """Load-test run id by variant; empty when no load test was asked for."""
    plan_sha256s: tuple[str, ...]


def prepare(
    ws: Workspace,
    *,
    run_id: str,
    request: Mapping[str, Any],
    route_key: str,
    variants: Sequence[str],
    incumbent: str | None,
    input_set_id: str,
    under_load: bool,
    judges: Sequence[JudgeIdentity],
    price_book_sha256: str,
    rules: Mapping[str, Any],
    repeats: int,
    seed: int,
) -> Preparation:
    """Check the request against what is registered, declare the verdict plans, and write `plan.json`.

    The same `run_id` with the same `request` is answered with what was prepared first, whatever the route's binding is
    by now. Raises `Conflict` for another request under the same id, `InputRefused` or `NotFound` for unknown or
    disabled variants, variants of another route, an unknown input set or one whose data classes let nobody win, or no
    variant to beat, and what `share_risk` raises for a route that is decided about too often.
    """
    check_id("run id", run_id)
    path = f"choose-route/{run_id}/plan.json"
    request_sha256 = sha256_of(dict(request))
    if ws.results.exists(path):
        known = Preparation.model_validate(json.loads(ws.results.read(path)))
        if known.request_sha256 != request_sha256:
            raise Conflict(
                f"The run {run_id} was started with another request.",
                instruction="Repeat the first request to continue it, or leave the run id out to start a new run.",
                code="request_changed",
            )
        return known
    key = RouteKey.parse(route_key)
    binding = current(ws, key)
    candidates = _candidates(ws, key, variants)
    serving = binding.sole_variant if binding else None
    to_beat = VariantId.parse(incumbent) if incumbent else serving
    if to_beat is None:
        raise InputRefused("incumbent", incumbent, f"a variant of {key}, because its binding names no single one")
    if to_beat not in candidates:
        _require_fit("incumbent", variant(ws, str(to_beat)), key)
        candidates = [to_beat, *candidates]
    ordered = [to_beat, *(candidate for candidate in candidates if candidate != to_beat)]
    inputs = input_set(ws, input_set_id)
    _require_fair([variant(ws, str(one)) for one in ordered], inputs)
    bm_id = benchmark_id(run_id)
    plans = draw_up_plans(
        incumbent=to_beat,
        challengers=ordered[1:],
        inputs=inputs,
        repeats=repeats,
        seed=seed,
        judges=judges,
        price_book_sha256=price_book_sha256,
        rules=rules,
    )
    plans = share_risk(ws, bm_id, plans)
    declare_plans(ws, bm_id, plans)
    prepared = Preparation(
        run_id=run_id,
        request_sha256=request_sha256,
        route_key=str(key),
        incumbent=str(to_beat),
        variants=tuple(str(candidate) for candidate in ordered),
        expected_generation=binding.generation if binding else None,
        benchmark_id=bm_id,
        scenario_runs={str(v): derive("scenario", run_id, v) for v in ordered} if under_load else {},
        plan_sha256s=tuple(plan.sha256 for plan in plans),
    )
    ws.results.write_json(path, prepared.model_dump(mode="json"))
    return prepared


def _require_fair(ordered: Sequence[Variant], inputs: InputSet) -> None:
    """Raise `InputRefused` where the incumbent, which comes first, or every challenger is kept from some input: who was
    not given every cell cannot win, and nobody can be compared with it."""
    away = {variant_id: why for (variant_id, _), why in withheld(ordered, inputs.members).items()}
    incumbent, *challengers = (str(one.id) for one in ordered)
    kept_away = [one for one in challengers if one in away]
    if incumbent in away or (challengers and len(kept_away) == len(challengers)):
        who = incumbent if incumbent in away else kept_away[0]
        raise InputRefused(
            "input set",
            inputs.id,
            f"a set all of which the incumbent and a challenger may see, or nobody could win ({who}: {away[who]})",
            instruction="Allow it, or use a set without it: pointsman variants change --help",
        )


def _candidates(ws: Workspace, key: RouteKey, named: Sequence[str]) -> list[VariantId]:
    if named:
        chosen = [variant(ws, text) for text in named]
    else:
        chosen = list_variants(
            ws,
            effect_revision=key.effect_revision,
            environment=key.environment,
            stage=key.stage,
            enabled=True,
        )
    for one in chosen:
        _require_fit("variants", one, key)
    if not chosen:
        raise InputRefused("variants", [], f"at least one enabled variant of {key}")
    return [one.id for one in chosen]


def _require_fit(field: str, one: Variant, key: RouteKey) -> None:
    if one.id.route_key != key:
        raise InputRefused(field, str(one.id), f"variants of {key}")
    if not one.enabled:
        raise InputRefused(field, str(one.id), "enabled variants")
