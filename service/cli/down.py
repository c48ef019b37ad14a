"""`pointsman down`: ends what `up` started, and only that."""

from __future__ import annotations

from pathlib import Path

import typer

from pointsman.settings import load_settings
from service.cli.lab_ecs import WORKER, ecs_home
from service.cli.output import JsonFlag, console, emit
from service.cli.world import World, sole_owner

_PARTS = ("worker", WORKER, "aws", "lab", "prefect", "database")


app = typer.Typer(add_completion=False)


@app.command()
def down(as_json: JsonFlag = False) -> None:
    """End what `up` (or a demo that was killed) started, and only that."""
    home = load_settings().home
    stopped = _end(home)
    if (ecs := ecs_home(home)).is_dir() and ecs != home:
        stopped += [f"{name} of the ECS lab" for name in _end(ecs)]
    emit(as_json, {"stopped": stopped}, lambda: console.print(f"Stopped: {', '.join(stopped) or 'nothing was up'}"))


def _end(home: Path) -> list[str]:
    with sole_owner(home):
        return World.load(home).stop(_PARTS)
