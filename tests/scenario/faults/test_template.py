"""The experiment template of one run: what it makes of the operator's own."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pointsman.errors import GuardRefused
from pointsman.scenario.faults.template import run_template


def made(**parameters: str) -> dict[str, Any]:
    """The parameters of an action of the run's template, from those of the operator's."""
    action = {"actionId": "aws:ssm:send-command", "parameters": parameters, "targets": {"Instances": "workers"}}
    operator = {
        "id": "EXT1",
        "targets": {"workers": {"resourceType": "aws:ec2:instance"}},
        "actions": {"burn": action},
    }
    asked = run_template(operator, ["arn:of:one"], duration_s=90, run_id="run1", stage="steady")
    found: dict[str, Any] = asked["actions"]["burn"]["parameters"]
    return found


def test_a_command_acts_on_the_machines_as_long_as_the_fault_lasts() -> None:
    theirs = json.dumps({"DurationSeconds": "60", "LoadPercent": "80"})
    found = made(duration="PT2M", documentParameters=theirs)
    assert found["duration"] == "PT90S"
    assert json.loads(found["documentParameters"]) == {"DurationSeconds": "90", "LoadPercent": "80"}


def test_a_document_that_knows_no_duration_stays_as_it_is() -> None:
    theirs = '{ "Process": "worker" }'
    assert made(duration="PT2M", documentParameters=theirs)["documentParameters"] == theirs


@pytest.mark.parametrize("theirs", ["DurationSeconds=60", '["60"]'])
def test_parameters_of_a_document_that_cannot_be_read_are_refused_by_name(theirs: str) -> None:
    with pytest.raises(GuardRefused, match="template EXT1, action burn has documentParameters") as refused:
        made(documentParameters=theirs)
    assert refused.value.code == "fault_template_refused"
