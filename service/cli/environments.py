"""`pointsman environments`: where targets are, and which of these places is production."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from pointsman.benchmark import list_environments, register_environment
from service.cli.output import JsonFlag, console, emit, open_workspace, table

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Where targets are, and which is production.")
_COLUMNS = ("id", "kind", "account", "region", "ecs_cluster", "asg_name")


@app.command("list")
def list_command(as_json: JsonFlag = False) -> None:
    """List registered environments."""
    found = list_environments(open_workspace())
    rows = [tuple(one[name] or "" for name in _COLUMNS) for one in found]
    emit(as_json, [dict(one) for one in found], lambda: table("Environments", _COLUMNS, rows))


@app.command()
def add(
    environment_id: Annotated[str, typer.Argument(help="The env of its variants' ids.")],
    kind: Annotated[
        Literal["test_asg", "staging", "production"],
        typer.Option(help="production: every load test there needs to name it, and an approval by somebody else."),
    ],
    name: Annotated[str | None, typer.Option(help="As people call it; by default its id.")] = None,
    account: Annotated[str | None, typer.Option(help="Its AWS account, 12 digits.")] = None,
    region: Annotated[str | None, typer.Option(help="Its AWS region.")] = None,
    cluster: Annotated[str | None, typer.Option(help="Its ECS cluster.")] = None,
    group: Annotated[str | None, typer.Option(help="Its Auto Scaling group: what faults may hit.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Register an environment, or say more of one that is registered."""
    ws = open_workspace()
    where = {"account": account, "region": region, "ecs_cluster": cluster, "asg_name": group}
    register_environment(ws, environment_id, name=name or environment_id, kind=kind, **where)
    (found,) = [one for one in list_environments(ws) if one["id"] == environment_id]
    emit(as_json, dict(found), lambda: console.print(f"Registered {environment_id}, kind {kind}"))
