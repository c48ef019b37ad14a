"""`pointsman variants`: the registry of ways to produce an effect."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

import typer

from pointsman.benchmark import change_variant, list_variants, register_variants, set_enabled
from pointsman.benchmark import variant as known_variant
from pointsman.errors import Conflict, InputRefused
from pointsman.ids import VariantId
from pointsman.model import Variant, VariantLimits
from pointsman.versions import versions_of
from service.cli.naming import one_variant, short_names
from service.cli.output import JsonFlag, console, emit, open_workspace, table

app = typer.Typer(no_args_is_help=True, add_completion=False, help="The registered ways to produce an effect.")

VariantName = Annotated[str, typer.Argument(help="WORKFLOW@PROVIDER as `variants list` shows it, or a full id.")]
Tags = Annotated[list[str] | None, typer.Option("--tag", help="A word to find it by; repeat for more.")]
Allowed = Annotated[
    list[str] | None,
    typer.Option("--allow", help="A data class of inputs that it may see: faces, minors, region:eu; repeat for more."),
]
MaxPerS = Annotated[float | None, typer.Option(help="Jobs that it is given in a second, at most.")]
MaxInFlight = Annotated[int | None, typer.Option(help="Jobs that it has at the same time, at most.")]
MaxUsd = Annotated[str | None, typer.Option(help="USD for its cells of one matrix, at most.")]
_LIMITS = ("per_s", "in_flight", "usd")


def _document(one: Variant) -> dict[str, Any]:
    return {
        "id": str(one.id),
        "target": one.target,
        "params": dict(one.params),
        "enabled": one.enabled,
        "tags": list(one.tags),
        "data_classes": list(one.data_classes),
        "limits": {name: getattr(one.limits, name) for name in _LIMITS},
    }


@app.command("list")
def list_command(
    effect_revision: Annotated[str | None, typer.Option(help="Only those of this effect revision.")] = None,
    stage: Annotated[str | None, typer.Option(help="Only those of this stage.")] = None,
    provider: Annotated[str | None, typer.Option(help="Only those of this provider.")] = None,
    workflow: Annotated[str | None, typer.Option(help="Only those of this workflow.")] = None,
    environment: Annotated[str | None, typer.Option(help="Only those of this environment.")] = None,
    experiment: Annotated[str | None, typer.Option(help="Only those of this experiment.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Only those with this tag; repeat for all of several.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """List registered variants."""
    found = list_variants(
        open_workspace(),
        effect_revision=effect_revision,
        stage=stage,
        provider=provider,
        workflow=workflow,
        environment=environment,
        experiment=experiment,
        tags=tag or (),
    )
    columns = {
        "variant": short_names(found),
        "target": [one.target for one in found],
        "parameters": [json.dumps(dict(one.params)) for one in found],
        "tags": [", ".join(one.tags) for one in found],
        "may see": [", ".join(one.data_classes) for one in found],
        "enabled": ["yes" if one.enabled else "no" for one in found],
    }
    told = {name: column for name, column in columns.items() if name not in ("tags", "may see") or any(column)}

    def render() -> None:
        table("Variants", tuple(told), list(zip(*told.values(), strict=True)))
        if found:
            console.print("Commands take these names. Their ids: pointsman variants list --json")
        else:
            console.print("None yet: `pointsman up` registers the lab's, `pointsman variants add` one of yours.")

    emit(as_json, [_document(one) for one in found], render)


@app.command()
def show(name: VariantName, as_json: JsonFlag = False) -> None:
    """Show one variant: what it is given at most, and which models or versions did its jobs."""
    ws = open_workspace()
    one = one_variant(ws, "variant", name)
    seen = versions_of(ws, str(one.id))
    document = {
        **_document(one),
        "versions": [
            {"version": v.version, "first_seen_at": v.first_seen_at, "last_seen_at": v.last_seen_at} for v in seen
        ],
    }

    def render() -> None:
        told = {**_document(one), "limits": _told(one.limits)}
        table(one.id.label, ("what", "value"), [(key, value) for key, value in told.items() if key != "id"])
        console.print(f"Id  {one.id}", soft_wrap=True)
        if seen:
            rows = [(v.version, f"{v.first_seen_at:%F %T}", f"{v.last_seen_at:%F %T}") for v in seen]
            table("What did its jobs, the newest first", ("model or version", "first (UTC)", "last (UTC)"), rows)
        else:
            console.print("Which model does its jobs is not known: no answer of its target has named one.")

    emit(as_json, document, render)


@app.command()
def add(
    variant_id: Annotated[str, typer.Argument(help="er:..:wf:..:env:..:stage:..:provider:..:exp:..")],
    target: Annotated[str, typer.Option(help="Name of the target that runs it.")],
    params: Annotated[str, typer.Option(help="Parameters as a JSON object.")] = "{}",
    tag: Tags = None,
    allow: Allowed = None,
    max_per_s: MaxPerS = None,
    max_in_flight: MaxInFlight = None,
    max_usd: MaxUsd = None,
    as_json: JsonFlag = False,
) -> None:
    """Register a variant. It is given no input that has a data class unless the class is allowed."""
    try:
        parsed = json.loads(params)
    except ValueError as error:
        raise InputRefused("--params", params, "a JSON object") from error
    if not isinstance(parsed, dict):
        raise InputRefused("--params", params, "a JSON object")
    limits = VariantLimits(max_per_s, max_in_flight, _usd(max_usd))
    tags, allowed = tuple(sorted(set(tag or ()))), tuple(sorted(set(allow or ())))
    one = Variant(VariantId.parse(variant_id), target, parsed, tags=tags, data_classes=allowed, limits=limits)
    ws = open_workspace()
    register_variants(ws, [one])
    known = known_variant(ws, one.id)
    if (tag or allow or limits != VariantLimits()) and replace(known, enabled=True) != one:
        raise Conflict(
            f"{one.id} is registered already, with other tags, data classes or limits.",
            instruction="Change them: pointsman variants change --help",
            code="variant_registered",
        )
    emit(as_json, _document(known), lambda: console.print(f"Registered {one.id}"))


@app.command()
def change(
    name: VariantName,
    tag: Tags = None,
    untag: Annotated[list[str] | None, typer.Option(help="Take this tag away; repeat for more.")] = None,
    allow: Allowed = None,
    forbid: Annotated[list[str] | None, typer.Option(help="A data class that it may see no more; repeat.")] = None,
    max_per_s: MaxPerS = None,
    max_in_flight: MaxInFlight = None,
    max_usd: MaxUsd = None,
    lift: Annotated[list[str] | None, typer.Option(help="Lift this limit: per_s, in_flight or usd; repeat.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Change a variant's tags, what it may see, and what it is given at most. What was measured of it stays."""
    ws = open_workspace()
    known = one_variant(ws, "variant", name)
    given = {"per_s": max_per_s, "in_flight": max_in_flight, "usd": _usd(max_usd)}
    for limit in lift or ():
        if limit not in _LIMITS:
            raise InputRefused("--lift", limit, ", ".join(_LIMITS))
    kept: dict[str, Any] = {
        limit: None if limit in (lift or ()) else value if value is not None else getattr(known.limits, limit)
        for limit, value in given.items()
    }
    changed = change_variant(
        ws,
        known.id,
        tags=sorted({*known.tags, *(tag or ())} - set(untag or ())),
        data_classes=sorted({*known.data_classes, *(allow or ())} - set(forbid or ())),
        limits=VariantLimits(**kept),
    )

    def render() -> None:
        console.print(f"{changed.id}", soft_wrap=True)
        console.print(f"Tags     {', '.join(changed.tags) or 'none'}", soft_wrap=True)
        console.print(f"May see  {', '.join(changed.data_classes) or 'no input that has a data class'}", soft_wrap=True)
        console.print(f"Limits   {_told(changed.limits)}", soft_wrap=True)

    emit(as_json, _document(changed), render)


@app.command()
def enable(name: VariantName, as_json: JsonFlag = False) -> None:
    """Let a variant be measured and chosen."""
    _set(name, True, as_json)


@app.command()
def disable(name: VariantName, as_json: JsonFlag = False) -> None:
    """Keep a variant out of new comparisons."""
    _set(name, False, as_json)


def _set(name: str, enabled: bool, as_json: bool) -> None:
    ws = open_workspace()
    changed = set_enabled(ws, one_variant(ws, "variant", name).id, enabled)
    word = "enabled" if changed.enabled else "disabled"
    emit(as_json, _document(changed), lambda: console.print(f"{changed.id} is {word}"))


def _told(limits: VariantLimits) -> str:
    told = [f"{limits.per_s:g} a second"] if limits.per_s is not None else []
    told += [f"{limits.in_flight} at the same time"] if limits.in_flight is not None else []
    told += [f"{limits.usd:f} USD in one matrix"] if limits.usd is not None else []
    return ", ".join(told) or "none of its own"


def _usd(text: str | None) -> Decimal | None:
    try:
        return None if text is None else Decimal(text)
    except InvalidOperation as error:
        raise InputRefused("--max-usd", text, "an amount such as 2.50") from error
