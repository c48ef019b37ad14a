"""The experiment template of one run: the operator's own, with its targets replaced and its durations set."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pointsman.errors import GuardRefused

RUN_TAG = "pointsman-run"
STAGE_TAG = "pointsman-stage"
_INSTANCE = "aws:ec2:instance"
_DURATIONS = ("duration", "startInstancesAfterDuration")
_DOCUMENT, _DOCUMENT_LASTS = "documentParameters", "DurationSeconds"
"""FIS only watches a command for its `duration`; what the command does lasts as long as its document is told."""


def run_template(
    operator: Mapping[str, Any], arns: Sequence[str], *, duration_s: int, run_id: str, stage: str
) -> dict[str, Any]:
    """The request of CreateExperimentTemplate, without its client token.

    Actions, role, stop conditions and logging are the operator's; every target is exactly `arns`. Actions that last
    get `duration_s`, and so do the documents that they run on machines, where these know one; stopped instances are
    started again after it, and replaced ones do not fail the experiment. Raises `GuardRefused`
    (`fault_template_refused`) for a template with targets other than EC2 instances, or with parameters of a document
    that cannot be read.
    """
    where = f"experiment template {operator['id']}"
    targets, actions = operator.get("targets") or {}, operator.get("actions") or {}
    others = sorted({target["resourceType"] for target in targets.values()} - {_INSTANCE})
    if others or not targets or not actions:
        found = f"targets of type {', '.join(others)}" if others else "no target" if not targets else "no action"
        raise GuardRefused(
            f"The {where} has {found}; a fault may only act on {_INSTANCE}, where the allowed group can be checked.",
            instruction="Give the operator's FIS template one target of EC2 instances and at least one action on it.",
            code="fault_template_refused",
        )
    kept = {
        name: operator[name]
        for name in ("stopConditions", "roleArn", "logConfiguration", "experimentReportConfiguration")
        if operator.get(name)
    }
    return {
        **kept,
        "description": f"{stage} of Pointsman run {run_id}, from {operator['id']}"[:512],
        "targets": {
            name: {"resourceType": _INSTANCE, "resourceArns": list(arns), "selectionMode": "ALL"} for name in targets
        },
        "actions": {name: _action(f"{where}, action {name}", action, duration_s) for name, action in actions.items()},
        # Nothing to act on is an error, never a success.
        "experimentOptions": {"accountTargeting": "single-account", "emptyTargetResolutionMode": "fail"},
        "tags": {RUN_TAG: run_id, STAGE_TAG: stage},
    }


def _action(where: str, action: Mapping[str, Any], duration_s: int) -> dict[str, Any]:
    parameters = dict(action.get("parameters") or {})
    if action["actionId"] == "aws:ec2:stop-instances":
        parameters |= {"startInstancesAfterDuration": "", "completeIfInstancesTerminated": "true"}
    parameters |= {name: f"PT{duration_s}S" for name in _DURATIONS if name in parameters}
    if _DOCUMENT in parameters:
        parameters[_DOCUMENT] = _document(where, parameters[_DOCUMENT], duration_s)
    kept = {name: action[name] for name in ("actionId", "description", "targets", "startAfter") if action.get(name)}
    return {**kept, **({"parameters": parameters} if parameters else {})}


def _document(where: str, text: str, duration_s: int) -> str:
    """The parameters of a Systems Manager document: what it does on the machine lasts as long as the action does."""
    try:
        parameters = json.loads(text)
    except ValueError:
        parameters = None
    if not isinstance(parameters, dict):
        raise GuardRefused(
            f"The {where} has {_DOCUMENT} {text!r}; how long it acts cannot be set there.",
            instruction=f'Write them as a JSON object, such as {{"{_DOCUMENT_LASTS}": "60"}}, in the FIS template.',
            code="fault_template_refused",
        )
    if _DOCUMENT_LASTS not in parameters:
        return text
    return json.dumps({**parameters, _DOCUMENT_LASTS: str(duration_s)})
