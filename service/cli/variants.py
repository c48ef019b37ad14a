"""`pointsman variants`: the registry of ways to produce an effect."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from pointsman.benchmark import list_variants, register_variants, set_enabled
from pointsman.errors import InputRefused
from pointsman.ids import VariantId
from pointsman.model import Variant
from service.cli.naming import one_variant, short_names
from service.cli.output import JsonFlag, console, emit, open_workspace, table

app = typer.Typer(no_args_is_help=True, add_completion=False, help="The registered ways to produce an effect.")

VariantName = Annotated[str, typer.Argument(help="WORKFLOW@PROVIDER as `variants list` shows it, or a full id.")]


def _document(one: Variant) -> dict[str, Any]:
    return {"id": str(one.id), "target": one.target, "params": dict(one.params), "enabled": one.enabled}


@app.command("list")
def list_command(
    provider: Annotated[str | None, typer.Option(help="Only those of this provider.")] = None,
    workflow: Annotated[str | None, typer.Option(help="Only those of this workflow.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """List registered variants."""
    found = list_variants(open_workspace(), provider=provider, workflow=workflow)
    rows = [
        (name, one.target, json.dumps(dict(one.params)), "yes" if one.enabled else "no")
        for name, one in zip(short_names(found), found, strict=True)
    ]

    def render() -> None:
        table("Variants", ("variant", "target", "parameters", "enabled"), rows)
        if found:
            console.print("Commands take these names. Their ids: pointsman variants list --json")
        else:
            console.print("None yet: `pointsman up` registers the lab's, `pointsman variants add` one of yours.")

    emit(as_json, [_document(one) for one in found], render)


@app.command()
def add(
    variant_id: Annotated[str, typer.Argument(help="er:..:wf:..:env:..:stage:..:provider:..:exp:..")],
    target: Annotated[str, typer.Option(help="Name of the target that runs it.")],
    params: Annotated[str, typer.Option(help="Parameters as a JSON object.")] = "{}",
    as_json: JsonFlag = False,
) -> None:
    """Register a variant."""
    try:
        parsed = json.loads(params)
    except ValueError as error:
        raise InputRefused("--params", params, "a JSON object") from error
    if not isinstance(parsed, dict):
        raise InputRefused("--params", params, "a JSON object")
    one = Variant(VariantId.parse(variant_id), target, parsed)
    register_variants(open_workspace(), [one])
    emit(as_json, _document(one), lambda: console.print(f"Registered {one.id}"))


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
