"""`pointsman down`: ends what `up` started, and only that."""

from __future__ import annotations

import typer

from pointsman.settings import load_settings
from service.cli.output import JsonFlag, console, emit
from service.cli.world import World, sole_owner

app = typer.Typer(add_completion=False)


@app.command()
def down(as_json: JsonFlag = False) -> None:
    """End what `up` (or a demo that was killed) started, and only that."""
    home = load_settings().home
    with sole_owner(home):
        stopped = World.load(home).stop(("worker", "aws", "lab", "prefect"))
    emit(as_json, {"stopped": stopped}, lambda: console.print(f"Stopped: {', '.join(stopped) or 'nothing was up'}"))
