"""What commands print: one document, as JSON for programs or as rich tables for people; errors on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pointsman.errors import GuardRefused, PointsmanError
from pointsman.ids import RouteKey
from pointsman.settings import load_settings
from pointsman.workspace import Workspace

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]
YesFlag = Annotated[bool, typer.Option("--yes", help="Go ahead without asking.")]
ProductionOption = Annotated[
    str | None,
    typer.Option(help="Only in production: the id of that environment, to say so. Somebody else must then agree."),
]
_NARROWEST = 120
"""A table of variants does not fit into the 80 columns that are assumed where there is no terminal."""
console = Console(highlight=False, width=None if sys.stdout.isatty() else _NARROWEST)


def emit(as_json: bool, document: Any, render: Callable[[], None]) -> None:
    """Print `document` as JSON, or call `render` for a person."""
    if as_json:
        sys.stdout.write(json.dumps(document, indent=1, sort_keys=True, default=str) + "\n")
    else:
        render()


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table, its cells as they are; columns whose cells are numbers stand on the right."""
    kept = [list(row) for row in rows]
    shown = Table(header_style="bold")
    for index, column in enumerate(columns):
        numeric = bool(kept) and all(isinstance(row[index], (int, float)) for row in kept)
        shown.add_column(Text(column), justify="right" if numeric else "left", overflow="fold", no_wrap=index == 0)
    for row in kept:
        shown.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    console.print(title, style="bold", markup=False, soft_wrap=True)  # a table's own title wraps at the table's width
    console.print(shown)


def complain(error: PointsmanError) -> None:
    """Say on stderr what is wrong and what to do."""
    to_stderr = Console(stderr=True, highlight=False)
    to_stderr.print(f"[red]{error.code}[/red]: ", end="")
    to_stderr.print(error.message, markup=False, soft_wrap=True)
    if error.instruction:
        to_stderr.print(f"  -> {error.instruction}", markup=False, soft_wrap=True)


def agree(yes: bool, route: RouteKey, plan: str) -> None:
    """Print the plan of a mutation outside the lab and ask; the lab and `--yes` go ahead. Raises `GuardRefused`."""
    if yes or route.environment == "lab":
        return
    Console(stderr=True, highlight=False).print(plan, markup=False)
    if not sys.stdin.isatty() or not typer.confirm("Go ahead?", err=True):
        raise GuardRefused(
            "Nothing was changed.", instruction="Add --yes to the same command to go ahead.", code="not_confirmed"
        )


def open_workspace() -> Workspace:
    """The workspace of this machine's settings, acting as the command line."""
    return Workspace.open(load_settings(), actor="cli")
