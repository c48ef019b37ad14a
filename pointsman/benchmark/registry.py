"""The registry: which variants exist, and the effect revisions and execution environments they belong to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, Literal

import sqlalchemy as sa

from pointsman.canonical import canonical_json
from pointsman.data_classes import data_classes
from pointsman.errors import Conflict, GuardRefused, InputRefused, NotFound
from pointsman.ids import VariantId, check_id
from pointsman.model import Variant, VariantLimits
from pointsman.storage import insert_absent, tables
from pointsman.workspace import Workspace

EnvironmentKind = Literal["local", "test_asg", "staging", "production"]
_KINDS = ("local", "test_asg", "staging", "production")
_LIMIT_RULES = {
    "per_s": (0.01, "0.01 or more jobs in a second"),
    "in_flight": (1, "a whole number from 1"),
    "usd": (0, "0 USD or more"),
}
_WHERE = ("account", "region", "ecs_cluster", "asg_name")


def register_variants(ws: Workspace, variants: Sequence[Variant]) -> int:
    """Register `variants`; those that are registered alike already stay as they are. Returns how many were new.

    Raises `Conflict`, writing none of them, when one is registered with another target or other params: a variant's
    id stands for what was measured under it. `enabled`, tags, data classes and limits are no part of that identity and
    only count for new ones; `change_variant` changes them.
    """
    rows: list[dict[str, Any]] = [
        {
            "id": str(variant.id),
            "route_key": str(variant.id.route_key),
            "target": check_id("variant target", variant.target),
            "params": _json_object(variant),
            "enabled": variant.enabled,
            "created_at": ws.clock.now(),
            **_changeable(variant),
        }
        for variant in variants
    ]
    with ws.database.begin() as connection:
        fresh = insert_absent(connection, tables.variants, rows)
        stored = {row.id: row for row in connection.execute(_selected([row["id"] for row in rows]))}
        for row in rows:
            found = stored[row["id"]]
            _refuse_other(row["id"], "target", found.target, row["target"])
            _refuse_other(row["id"], "params", found.params, row["params"])
    return fresh


def variant(ws: Workspace, variant_id: VariantId | str) -> Variant:
    """The registered variant. Raises `InputRefused` for a malformed id and `NotFound` for an unknown one."""
    wanted = _parsed(variant_id)
    with ws.database.begin() as connection:
        row = connection.execute(_selected([str(wanted)])).one_or_none()
        if row is None:
            raise _unknown(connection, wanted)
    return variant_of_row(row)


def list_variants(
    ws: Workspace,
    *,
    effect_revision: str | None = None,
    environment: str | None = None,
    stage: str | None = None,
    provider: str | None = None,
    workflow: str | None = None,
    experiment: str | None = None,
    tags: Sequence[str] = (),
    enabled: bool | None = None,
) -> list[Variant]:
    """Registered variants that match every given filter and have all of `tags`, ordered by id."""
    wanted = {
        "effect_revision": effect_revision,
        "environment": environment,
        "stage": stage,
        "provider": provider,
        "workflow": workflow,
        "experiment": experiment,
    }
    tagged = {check_id("tag", tag) for tag in tags}
    given = {name: check_id(name, value) for name, value in wanted.items() if value is not None}
    with ws.database.begin() as connection:
        rows = connection.execute(sa.select(tables.variants).order_by(tables.variants.c.id)).all()
    return [
        found
        for found in map(variant_of_row, rows)
        if all(getattr(found.id, name) == value for name, value in given.items())
        and (enabled is None or found.enabled == enabled)
        and tagged <= set(found.tags)
    ]


def seen_by_all(ws: Workspace, variants: Sequence[VariantId]) -> tuple[str, ...]:
    """The data classes that each of these variants may be given. Raises as `variant` does."""
    allowed = [set(variant(ws, one).data_classes) for one in variants]
    return tuple(sorted(set.intersection(*allowed))) if allowed else ()


def change_variant(
    ws: Workspace,
    variant_id: VariantId | str,
    *,
    tags: Sequence[str] | None = None,
    data_classes: Sequence[str] | None = None,
    limits: VariantLimits | None = None,
) -> Variant:
    """Replace what is given of a variant; None leaves it as it is. Cells that are pending go by what is allowed then.

    Raises as `variant` does, and `InputRefused` naming the word or number that is not allowed.
    """
    given = {"tags": tags, "data_classes": data_classes, "limits": limits}
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    changed = replace(variant(ws, variant_id), **changes)
    with ws.database.begin() as connection:
        own = sa.update(tables.variants).where(tables.variants.c.id == str(changed.id))
        connection.execute(own.values(**_changeable(changed)))
    return variant(ws, changed.id)


def set_enabled(ws: Workspace, variant_id: VariantId | str, enabled: bool) -> Variant:
    """Allow or forbid the variant in new matrices; those already planned keep it. Raises as `variant` does.

    Raises `GuardRefused` (`variant_held`) for one that a route may still have to go back to.
    """
    wanted = _parsed(variant_id)
    with ws.database.begin() as connection:
        if not enabled:
            _refuse_held(connection, wanted)
        changed = connection.execute(
            sa.update(tables.variants).where(tables.variants.c.id == str(wanted)).values(enabled=enabled)
        ).rowcount
        if not changed:
            raise _unknown(connection, wanted)
    return variant(ws, wanted)


def _refuse_held(connection: sa.Connection, wanted: VariantId) -> None:
    holds = tables.routing_holds
    held = sa.select(holds.c.variants, holds.c.generation).where(
        holds.c.route_key == str(wanted.route_key), holds.c.released_at.is_(None)
    )
    for row in connection.execute(held):
        if str(wanted) in row.variants:
            raise GuardRefused(
                f"{wanted.label} is held: {wanted.route_key} may still have to go back to generation {row.generation}.",
                instruction=f"Confirm the switch first: pointsman route promote {wanted.route_key}",
                code="variant_held",
            )


def register_effect_revision(ws: Workspace, revision_id: str, *, name: str, media: str) -> bool:
    """Register an effect revision (`media` e.g. `video`). Returns False when it is registered alike already.

    Raises `Conflict` when it is registered with another name or medium.
    """
    identity = {"name": name, "media": check_id("media", media)}
    return _register(ws, tables.effect_revisions, revision_id, identity, {"created_at": ws.clock.now()})


def environment_kind(ws: Workspace, environment_id: str) -> EnvironmentKind | None:
    """What kind of environment a variant's `env` names; None for one that was not registered."""
    environments = tables.execution_environments
    with ws.database.connect() as connection:
        kind: EnvironmentKind | None = connection.execute(
            sa.select(environments.c.kind).where(environments.c.id == environment_id)
        ).scalar()
    return kind


def register_environment(
    ws: Workspace,
    environment_id: str,
    *,
    name: str,
    kind: EnvironmentKind,
    aliases: Sequence[str] = (),
    **where: str | None,
) -> bool:
    """Register an execution environment. Returns False when it is registered alike already.

    `where` it is: `account`, `region`, `ecs_cluster`, and `asg_name`, the Auto Scaling group that faults of load tests
    may hit; given again, they replace what was registered. Raises `Conflict` when it is registered with another name,
    kind or aliases.
    """
    if kind not in _KINDS:
        raise InputRefused("environment kind", kind, ", ".join(_KINDS))
    if unknown := sorted(set(where) - set(_WHERE)):
        raise InputRefused("environment", unknown[0], ", ".join(_WHERE))
    identity = {"name": name, "kind": kind, "aliases": sorted(check_id("alias", alias) for alias in aliases)}
    given = {name: value for name, value in where.items() if value is not None}
    environments = tables.execution_environments
    fresh = _register(ws, environments, environment_id, identity, given)
    if given and not fresh:
        with ws.database.begin() as connection:
            connection.execute(sa.update(environments).where(environments.c.id == environment_id).values(**given))
    return fresh


def list_environments(ws: Workspace) -> list[Mapping[str, Any]]:
    """Every registered environment, as its row has it, by id."""
    environments = tables.execution_environments
    with ws.database.connect() as connection:
        return [dict(row) for row in connection.execute(sa.select(environments).order_by(environments.c.id)).mappings()]


def require_environment(connection: sa.Connection, environment_id: str) -> None:
    """Raise `NotFound` unless the environment is registered."""
    known = connection.execute(sa.select(tables.execution_environments.c.id)).scalars().all()
    if environment_id not in known:
        raise NotFound("environment", environment_id, ", ".join(sorted(known)) or "none is registered yet")


def enabled_variants(connection: sa.Connection, wanted: Sequence[VariantId]) -> list[Variant]:
    """The registered variants of these ids, in this order. Raises `InputRefused` for unknown and disabled ones."""
    found = {row.id: variant_of_row(row) for row in connection.execute(_selected([str(one) for one in wanted]))}
    for one in wanted:
        if str(one) not in found:
            raise _unknown(connection, one)
        if not found[str(one)].enabled:
            raise InputRefused("variant", str(one), "an enabled one", instruction="Enable it or leave it out.")
    return [found[str(one)] for one in wanted]


def _register(
    ws: Workspace, table: sa.Table, entity_id: str, identity: Mapping[str, Any], rest: Mapping[str, Any]
) -> bool:
    check_id(f"{table.name} id", entity_id)
    with ws.database.begin() as connection:
        fresh = insert_absent(connection, table, [{"id": entity_id, **identity, **rest}])
        stored = connection.execute(sa.select(table).where(table.c.id == entity_id)).one()
        for name, value in identity.items():
            _refuse_other(entity_id, name, getattr(stored, name), value)
    return bool(fresh)


def _refuse_other(entity_id: str, what: str, registered: object, asked: object) -> None:
    if canonical_json(registered) != canonical_json(asked):
        raise Conflict(
            f"{entity_id} is registered with {what} {registered!r}, which differs from {asked!r}.",
            instruction="Register the changed one under another id: measurements keep the id they were made under.",
            differs=what,
        )


def _json_object(variant: Variant) -> dict[str, Any]:
    params = dict(variant.params)
    try:
        canonical_json(params)
    except (TypeError, ValueError) as error:
        raise InputRefused(f"params of {variant.id}", params, f"a JSON object ({error})") from error
    return params


def _parsed(variant_id: VariantId | str) -> VariantId:
    return variant_id if isinstance(variant_id, VariantId) else VariantId.parse(variant_id)


def _selected(ids: Sequence[str]) -> sa.Select[Any]:
    return sa.select(tables.variants).where(tables.variants.c.id.in_(ids))


def variant_of_row(row: sa.Row[Any]) -> Variant:
    """A row of `variants`; of one that is older than tags, classes and limits, none of them."""
    limits = row.limits or {}
    return Variant(
        VariantId.parse(row.id),
        row.target,
        row.params,
        row.enabled,
        tuple(row.tags or ()),
        tuple(row.data_classes or ()),
        VariantLimits(
            per_s=limits.get("per_s"),
            in_flight=limits.get("in_flight"),
            usd=None if limits.get("usd") is None else Decimal(limits["usd"]),
        ),
    )


def _changeable(one: Variant) -> dict[str, Any]:
    """The columns that may change while a variant exists, checked."""
    limits = one.limits
    numbers = {"per_s": limits.per_s, "in_flight": limits.in_flight, "usd": limits.usd}
    for name, value in numbers.items():
        if value is None:
            continue
        least, rule = _LIMIT_RULES[name]
        if isinstance(value, bool) or not math.isfinite(value) or value < least or (name == "in_flight" and value % 1):
            raise InputRefused(f"limit {name} of {one.id}", value, rule)
    return {
        "tags": sorted({check_id("tag", tag) for tag in one.tags}),
        "data_classes": list(data_classes(f"data class of {one.id}", one.data_classes)),
        "limits": {
            "per_s": limits.per_s,
            "in_flight": limits.in_flight,
            "usd": None if limits.usd is None else format(limits.usd, "f"),
        },
    }


def _unknown(connection: sa.Connection, wanted: VariantId) -> NotFound:
    siblings = (
        connection.execute(sa.select(tables.variants.c.id).where(tables.variants.c.route_key == str(wanted.route_key)))
        .scalars()
        .all()
    )
    known = ", ".join(sorted(siblings)[:20]) or f"none is registered for {wanted.route_key}"
    return NotFound(
        "variant", str(wanted), known, instruction="`pointsman variants list` shows every registered variant."
    )
