"""`pointsman approve`: what waits for somebody's consent, and giving or refusing it."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

import typer
from rich.console import Console

from pointsman.safety import Approval, Limits, decide_approval, list_approvals
from pointsman.settings import load_settings
from service.cli.approving import acting
from service.cli.output import JsonFlag, console, emit, open_workspace, table
from service.cli.running import connect
from service.cli.world import World

_WORDS = {"approved": "approve", "rejected": "reject"}
app = typer.Typer(add_completion=False)


@app.command()
def approve(
    approval_id: Annotated[str | None, typer.Argument(help="Which one; left out: all that wait.")] = None,
    reject: Annotated[bool, typer.Option("--reject", help="Refuse it: the run fails.")] = False,
    reason: Annotated[str, typer.Option(help="Kept with the decision.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """Agree to what a run may cost. Somebody other than its requester does, by a token in POINTSMAN_TOKEN."""
    ws = open_workspace()
    if approval_id is None:
        found = list_approvals(ws)
        rows = [(one.id, one.what, f"{one.limit_usd} USD", one.requester, f"{one.expires_at:%F %T}") for one in found]
        columns = ("approval", "what", "up to", "asked by", "until (UTC)")
        emit(as_json, [_document(one) for one in found], lambda: table("Waiting for approval", columns, rows))
        return
    decided = decide_approval(
        ws,
        approval_id,
        acting(ws),
        "rejected" if reject else "approved",
        reason=reason,
        limits=Limits.of(load_settings()),
    )
    _resume(decided)
    said = f"{decided.id} is {decided.decision} by {decided.decided_by}: {decided.what}"
    emit(as_json, _document(decided), lambda: console.print(said, markup=False, soft_wrap=True))


def _resume(decided: Approval) -> None:
    """Wake the suspended flow run that waits, if one does; others are continued by whoever started them."""
    kind, _, flow_run_id = decided.waiter.partition(":")
    if kind != "flow-run" or flow_run_id == "none" or World.load(load_settings().home).prefect_api_url is None:
        return
    connect()
    import httpx
    from prefect.exceptions import NotPausedError, ObjectNotFound
    from prefect.flow_runs import resume_flow_run

    try:
        # The decision stands in the table: what the form would say is not read.
        resume_flow_run(UUID(flow_run_id), run_input={"decision": _WORDS[str(decided.decision)]})
    except (NotPausedError, ObjectNotFound):
        return
    except httpx.HTTPError as error:
        said = f"The decision is kept. Prefect did not answer ({type(error).__name__}): resume the run in its UI."
        Console(stderr=True, highlight=False).print(said, markup=False, soft_wrap=True)


def _document(one: Approval) -> dict[str, Any]:
    return {
        "id": one.id,
        "scope": one.scope,
        "subject_id": one.subject_id,
        "what": one.what,
        "limit_usd": str(one.limit_usd),
        "environment_id": one.environment_id,
        "limit_per_s": one.limit_per_s,
        "requester": one.requester,
        "requested_at": one.requested_at.isoformat(),
        "expires_at": one.expires_at.isoformat(),
        "decision": one.decision,
        "decided_by": one.decided_by,
        "decided_at": None if one.decided_at is None else one.decided_at.isoformat(),
        "reason": one.reason,
    }
