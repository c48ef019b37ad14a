"""Waiting for somebody's consent: a deployed run is suspended, and its form in the Prefect UI decides; others end.

What is typed into that form Prefect keeps, a token too. So the answer is deleted as soon as it is read, and a token
that came that way is revoked by its use.
"""

from __future__ import annotations

from typing import Literal

from prefect.context import FlowRunContext
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput, delete_flow_run_input, read_flow_run_input
from prefect.input.run_input import keyset_from_base_key
from prefect.runtime import deployment
from pydantic import Field

from pointsman.errors import GuardRefused
from pointsman.safety import Admission, Approval, Limits, decide_approval, revoke_tokens, who_acts
from pointsman.settings import Secret, load_settings
from tasks.opening import open_workspace


class ApprovalForm(RunInput):
    """What the Prefect UI asks for when a run waits."""

    decision: Literal["approve", "reject"] = Field(title="Decision", description="Whether the run may spend this.")
    token: str = Field(
        "",
        title="Token",
        description="One of your own that `pointsman token create` printed. Using it here revokes it.",
        max_length=200,
    )
    reason: str = Field("", title="Reason", description="Kept with the decision.", max_length=500)


def await_decision(admission: Admission) -> None:
    """Return when the decision stands in the table of approvals.

    A run without a deployment cannot be suspended: it ends with `GuardRefused` (`awaiting_approval`), and the same run
    id goes on from there once somebody has decided. A suspended run starts again from the top when it is resumed.
    """
    approval = admission.approval
    context = FlowRunContext.get()
    if not deployment.id or approval is None or context is None or context.flow_run is None:
        raise admission.waiting_error()
    suspended_before = context.flow_run.empirical_policy.pause_keys or set()
    said = ""
    turn = 0
    # Prefect takes no underscores in the keys of inputs.
    while (key := f"{approval.id.replace('_', '-')}-{turn}") in suspended_before:
        response = keyset_from_base_key(f"suspended-{key}")["response"]
        answer = read_flow_run_input(response)
        if answer is not None:
            delete_flow_run_input(response)
            try:
                _decide(approval, ApprovalForm.model_validate(answer))
                return
            except GuardRefused as error:
                said = f"\n\n**Not accepted: {error.message}** {error.instruction}"
        turn += 1
    left_s = (approval.expires_at - open_workspace().clock.now()).total_seconds()
    form = ApprovalForm.with_initial_data(
        description=f"{approval.what}, up to {approval.limit_usd} USD; asked by {approval.requester}.\n\n"
        f"Or decide at a terminal: `pointsman approve {approval.id}`{said}"
    )
    suspend_flow_run(wait_for_input=form, key=key, timeout=max(1, int(left_s)))


def _decide(approval: Approval, form: ApprovalForm) -> None:
    ws = open_workspace()
    if not form.token.strip():
        raise GuardRefused(
            "The form did not say who decides.", instruction="Enter a token.", code="approval_needs_token"
        )
    by = who_acts(ws, Secret(form.token))
    revoke_tokens(ws, by, form.token.split("_")[1])
    decide_approval(
        ws,
        approval.id,
        by,
        "approved" if form.decision == "approve" else "rejected",
        reason=form.reason,
        limits=Limits.of(load_settings()),
    )
