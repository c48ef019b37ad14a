"""`pointsman logs`: the action log, newest first."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from pointsman.actions import ActionLog
from pointsman.errors import InputRefused
from service.cli.output import JsonFlag, console, emit, open_workspace, table

app = typer.Typer(add_completion=False)


@app.command()
def logs(
    severity: Annotated[str | None, typer.Option(help="info, warn or critical")] = None,
    since: Annotated[str | None, typer.Option(help="ISO 8601 time with offset")] = None,
    run: Annotated[str | None, typer.Option(help="Only events of this run.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The newest so many.")] = 50,
    as_json: JsonFlag = False,
) -> None:
    """What happened, and what to do about it."""
    entries = ActionLog(open_workspace()).read(severity=severity, since=_time(since), run_id=run, limit=limit)
    rows = [(f"{e.at:%Y-%m-%d %H:%M:%S}", e.severity, e.event, e.run_id or e.context, e.instruction) for e in entries]
    document = [
        {
            "at": e.at.isoformat(),
            "severity": e.severity,
            "event": e.event,
            "run_id": e.run_id,
            "context": e.context,
            "data": e.data,
            "instruction": e.instruction,
        }
        for e in entries
    ]

    def show() -> None:
        table("Action log", ("at (UTC)", "severity", "event", "of", "do next"), rows)
        if not rows:
            console.print("No such event yet." if severity or since or run else "Nothing has happened yet.")

    emit(as_json, document, show)


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputRefused("--since", text, "an ISO 8601 time such as 2026-11-21T00:00:00+00:00") from error
    if parsed.tzinfo is None:
        raise InputRefused("--since", text, "a time with its offset, such as 2026-11-21T00:00:00+00:00")
    return parsed
