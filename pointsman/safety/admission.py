"""What all admissions share: how one stands, what is set aside for it, who else is at work, and what is logged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Literal

import sqlalchemy as sa

from pointsman.actions import ActionLog
from pointsman.errors import GuardRefused
from pointsman.model import Missing
from pointsman.safety.approvals import Approval
from pointsman.safety.forecast import Forecast
from pointsman.safety.guards import Limits, Refusal
from pointsman.safety.identities import Identity
from pointsman.safety.production import Consent
from pointsman.states import LOAD_TEST_RUN
from pointsman.storage import tables
from pointsman.workspace import Workspace

_CENT = Decimal("0.01")
_ENDED = sorted(LOAD_TEST_RUN.terminal)


@dataclass(frozen=True, slots=True)
class Admission:
    """How a run stands: it may go on (`admitted`, also when it has long begun or ended), or it waits for `approval`."""

    run_id: str
    state: Literal["admitted", "waiting"]
    approval: Approval | None
    consent: Consent | None = None
    """Of an admitted matrix or probe against production."""

    def waiting_error(self) -> GuardRefused:
        """The refusal to go on before somebody decided; it leaves the run as it is."""
        assert self.approval is not None
        return GuardRefused(
            f"{self.approval.what} waits for {self.approval.id}, which {self.approval.requester} asked for, to be "
            f"approved by somebody else until {self.approval.expires_at:%F %T} UTC.",
            instruction=f"pointsman approve {self.approval.id}",
            code="awaiting_approval",
            approval_id=self.approval.id,
        )


def others_going_on(connection: sa.Connection, environment_id: str, run_id: str) -> tuple[str, ...]:
    """The ids of all other load tests and matrices in the environment that have not ended and were admitted."""
    runs, matrices = tables.load_test_runs, tables.benchmark_matrix_runs
    others = (runs.c.environment_id == environment_id) & (runs.c.id != run_id) & runs.c.status.not_in(_ENDED)
    rows = connection.execute(
        sa.select(runs.c.id, runs.c.status, runs.c.metrics_json).where(others).order_by(runs.c.id)
    )
    waiting = ("created", "awaiting_approval")
    loads = [row.id for row in rows if row.status not in waiting or row.metrics_json.get("admitted")]
    others = (matrices.c.environment_id == environment_id) & (matrices.c.id != run_id)
    at_work = others & matrices.c.status.in_(("created", "running"))
    return (*loads, *connection.execute(sa.select(matrices.c.id).where(at_work).order_by(matrices.c.id)).scalars())


def tell_refused(
    ws: Workspace,
    connection: sa.Connection,
    run_id: str,
    environment_id: str,
    requester: Identity,
    broken: Sequence[Refusal],
) -> None:
    """Log every rule that a run against production breaks, with what to do about each."""
    ActionLog(ws).record_in(
        connection,
        "production_run_refused",
        run_id=run_id,
        environment=environment_id,
        requester=requester.name,
        rules=[{"code": one.code, "message": one.message, "instruction": one.instruction} for one in broken],
    )


def tell_requested(ws: Workspace, connection: sa.Connection, approval: Approval, *, context: str) -> None:
    """Log that somebody wants to enter production, and what they asked for."""
    ActionLog(ws).record_in(
        connection,
        "production_run_requested",
        run_id=approval.subject_id,
        context=context,
        environment=approval.environment_id,
        approval_id=approval.id,
        requester=approval.requester,
        limit_usd=approval.limit_usd,
        limit_per_s=approval.limit_per_s,
    )


def set_aside(forecast: Forecast, unbilled: bool, limits: Limits, left: Decimal) -> Decimal:
    """What to set aside, in whole cents: the upper end; of what is not known, as much as may be approved."""
    if not isinstance(forecast.high, Missing):
        return forecast.high.quantize(_CENT, ROUND_CEILING)
    return Decimal(0) if unbilled else max(Decimal(0), min(limits.run_usd, left))


def in_words(forecast: Forecast) -> str:
    """The forecast in words."""
    if isinstance(forecast.usd, Missing):
        return f"of unknown cost ({forecast.usd.reason})"
    return f"about {forecast.usd:.2f} USD ({forecast.low:.2f} to {forecast.high:.2f}; {forecast.method})"
