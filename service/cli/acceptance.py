"""`pointsman acceptance`: evidence about an environment."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import uuid4

import typer

from pointsman.acceptance import Baseline, read_baseline
from pointsman.model import Missing
from service.cli.output import JsonFlag, console, emit, open_workspace, table
from service.cli.running import connect, request, run_flow

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Evidence about an environment.")


@app.callback()
def acceptance() -> None:
    """Evidence about an environment."""


@app.command()
def baseline(
    environment: Annotated[str, typer.Option(help="Names the environment in results.")] = "staging",
    region: Annotated[str | None, typer.Option(help="AWS region, where the environment names none.")] = None,
    cluster: Annotated[str | None, typer.Option(help="ECS cluster; left out: all of the region.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Look at everything an environment consists of, changing nothing, and keep it."""
    connect()

    def load() -> Any:
        from flows.capture_baseline import capture_baseline

        return capture_baseline

    from flows.capture_baseline import CaptureBaselineRequest

    fields = {"environment": environment, "region": region, "cluster": cluster, "run_id": f"baseline-{uuid4()}"}
    found = read_baseline(open_workspace(), run_flow(load, request(CaptureBaselineRequest, **fields)))
    rows = [(name, _found(part)) for name, part in found.parts.items()]

    def render() -> None:
        table(f"Baseline of {environment}", ("part", "found"), rows)
        console.print(f"Everything: {found.uri}", markup=False, soft_wrap=True)

    emit(as_json, _document(found), render)


def _found(part: tuple[Any, ...] | Missing) -> str:
    return str(part) if isinstance(part, Missing) else str(len(part))


def _document(found: Baseline) -> dict[str, Any]:
    return {
        "run_id": found.run_id,
        "environment": found.environment_id,
        "captured_at": found.captured_at.isoformat(),
        "uri": found.uri,
        "parts": {
            name: {"items": None, "missing": part.reason} if isinstance(part, Missing) else {"items": list(part)}
            for name, part in found.parts.items()
        },
    }
