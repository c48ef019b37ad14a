"""`pointsman inputs`: register files once as an input set, and measure with it as often as you like."""

from __future__ import annotations

import mimetypes
from pathlib import Path
from typing import Annotated, Any

import typer

from pointsman.benchmark import (
    import_inputs,
    input_set,
    list_input_sets,
    listed_files,
    named_files,
    register_input_set,
)
from pointsman.errors import InputRefused
from pointsman.model import InputMember, InputSet
from pointsman.settings import load_settings
from service.cli.lab_setup import inputs_root
from service.cli.output import JsonFlag, console, emit, open_workspace, table

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Input sets: files that are registered once and measured often."
)

SetName = Annotated[str, typer.Argument(help="Name of the set: letters, digits and . _ -")]


@app.command()
def add(
    name: SetName,
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Clips, pictures or folders of them. What is in one folder within a folder counts as cut from the "
            "same source."
        ),
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option(
            help="Instead: a TOML file of [[input]] tables with file, and where needed id, cluster (its source), "
            "data_classes and sha256."
        ),
    ] = None,
    data_class: Annotated[
        list[str] | None,
        typer.Option(help="What all of them show or where they must stay: faces, minors, region:eu; repeat for more."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Check, copy, hash and register files. The same again changes nothing; other content needs another name."""
    if bool(files) == (manifest is not None):
        raise InputRefused("FILES, --manifest", "both" if files else None, "either files or a manifest")
    given = data_class or ()
    asked = listed_files(manifest, data_classes=given) if manifest else named_files(files or [], data_classes=given)
    ws = open_workspace()
    found = register_input_set(ws, name, import_inputs(inputs_root(load_settings().home), asked))
    emit(as_json, _document(found), lambda: _render(found))


@app.command("list")
def list_command(as_json: JsonFlag = False) -> None:
    """List the input sets."""
    found = list_input_sets(open_workspace())
    rows = [
        (one.id, len(one.members), len({member.cluster for member in one.members}), _kinds(one), _classes(one))
        for one in found
    ]
    columns = ("input set", "inputs", "sources", "media", "data classes")
    emit(as_json, [_document(one) for one in found], lambda: table("Input sets", columns, rows))


@app.command()
def show(name: SetName, as_json: JsonFlag = False) -> None:
    """Show the files of an input set, and what only some variants may be given."""
    found = input_set(open_workspace(), name)
    emit(as_json, _document(found), lambda: _render(found))


def _render(found: InputSet) -> None:
    rows = [
        (one.input_id, one.cluster, _media(one), one.bytes, ", ".join(one.data_classes), one.sha256[:12])
        for one in found.members
    ]
    table(f"Input set {found.id}", ("input", "source", "media", "bytes", "data classes", "sha256"), rows)
    sources = len({one.cluster for one in found.members})
    console.print(f"Independent  {sources} of {len(found.members)} inputs, by their sources", soft_wrap=True)
    if classes := _classes(found):
        console.print(
            f"Withheld     from variants that may not see {classes}: pointsman variants change --help", soft_wrap=True
        )
    console.print(
        f"Next         pointsman benchmark plan --route ROUTE --input-set {found.id}", soft_wrap=True, markup=False
    )


def _document(found: InputSet) -> dict[str, Any]:
    return {
        "id": found.id,
        "sha256": found.sha256,
        "inputs": [
            {
                "id": one.input_id,
                "uri": one.uri,
                "sha256": one.sha256,
                "bytes": one.bytes,
                "media": _media(one),
                "cluster": one.cluster,
                "data_classes": list(one.data_classes),
            }
            for one in found.members
        ],
    }


def _media(one: InputMember) -> str:
    """As targets are told it."""
    return mimetypes.guess_type(one.uri)[0] or "application/octet-stream"


def _kinds(found: InputSet) -> str:
    return ", ".join(sorted({_media(one).partition("/")[0] for one in found.members}))


def _classes(found: InputSet) -> str:
    return ", ".join(sorted({word for one in found.members for word in one.data_classes}))
