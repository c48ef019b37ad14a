"""`pointsman sinks`: where events go besides the action log."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pointsman.actions import SinkSpec, list_sinks, parse_sink, remove_sink, save_sink
from service.cli.output import JsonFlag, emit, open_workspace, table

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Where events go besides the action log.")
NameArgument = Annotated[str, typer.Argument(help="Name of the sink.")]


@app.command("list")
def list_(as_json: JsonFlag = False) -> None:
    """Show every sink, which events it gets, and how many wait for it."""
    found = list_sinks(open_workspace())
    rows = [
        (spec.name, spec.kind, spec.path or "", _wanted(spec) if spec.enabled else "nothing: it is disabled", waiting)
        for spec, waiting in found
    ]
    document = [{**spec.model_dump(mode="json"), "waiting": waiting} for spec, waiting in found]
    emit(as_json, document, lambda: table("Sinks", ("sink", "kind", "file", "gets", "waiting"), rows))


@app.command("set")
def set_(
    name: NameArgument,
    kind: Annotated[str, typer.Option(help="prefect or json_lines")],
    path: Annotated[Path | None, typer.Option(help="The file of json_lines.")] = None,
    severity: Annotated[str, typer.Option(help="From this severity on: info, warn, critical or none.")] = "critical",
    event: Annotated[list[str] | None, typer.Option(help="An event to get as well; may be repeated.")] = None,
    disabled: Annotated[bool, typer.Option("--disabled", help="Send nothing there.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Add a sink, or change the one of this name."""
    spec = parse_sink(
        {
            "name": name,
            "kind": kind,
            "path": None if path is None else str(path.absolute()),
            "severity": None if severity == "none" else severity,
            "events": tuple(event or ()),
            "enabled": not disabled,
        }
    )
    save_sink(open_workspace(), spec)
    list_(as_json)


@app.command()
def remove(name: NameArgument, as_json: JsonFlag = False) -> None:
    """Remove a sink, and what waits for it."""
    remove_sink(open_workspace(), name)
    list_(as_json)


def _wanted(spec: SinkSpec) -> str:
    wanted = [f"{spec.severity} and above"] if spec.severity else []
    return ", ".join([*wanted, *spec.events]) or "nothing"
