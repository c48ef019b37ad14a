"""`pointsman trace`: everything known of one dispatch."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from pointsman.benchmark import trace as trace_dispatch
from service.cli.output import JsonFlag, console, emit, open_workspace

app = typer.Typer(add_completion=False)


@app.command()
def trace(
    dispatch_id: Annotated[str, typer.Argument(help="studio_load_test_... of a benchmark cell")],
    as_json: JsonFlag = False,
) -> None:
    """Where a dispatch came from, every attempt of it, what it cost in usage, and how it was judged."""
    document = trace_dispatch(open_workspace(), dispatch_id)
    emit(as_json, document, lambda: console.print_json(json.dumps(document, default=str)))
