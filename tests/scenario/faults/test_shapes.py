"""What the lab's FIS and Auto Scaling answer has the shapes of the services' own models, also where the lab adds to
moto; and so have the requests of a fault, which boto3 checks as it sends them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.model import Shape, StructureShape
from botocore.validate import ParamValidator

from lab.aws import gaps
from pointsman.scenario.faults.injection import Injection
from tests.scenario.faults.world import GROUP, Aws, _client

pytestmark = pytest.mark.xdist_group("fis")


def enums(shape: Shape, value: Any, path: str = "") -> list[str]:
    """Words that the service's model does not know."""
    if value is None:
        return []
    if shape.type_name == "structure":
        assert isinstance(shape, StructureShape)
        members = shape.members
        return [one for name, part in value.items() if name in members for one in enums(members[name], part, name)]
    if shape.type_name == "list":
        return [one for part in value for one in enums(shape.member, part, path)]  # type: ignore[attr-defined]
    if shape.type_name == "map":
        return [one for part in value.values() for one in enums(shape.value, part, path)]  # type: ignore[attr-defined]
    allowed = getattr(shape, "enum", None)
    return [f"{path}: {value}"] if allowed and value not in allowed else []


@pytest.fixture
def answers(aws: Aws) -> list[tuple[str, str, Any]]:
    """(service, operation, raw body) of everything that was answered."""
    heard: list[tuple[str, str, Any]] = []

    def hear(http_response: Any, model: Any, **rest: Any) -> None:
        heard.append((model.service_model.service_name, model.name, http_response.content))

    for client in (aws.client, _client("autoscaling")):
        client.meta.events.register("after-call", hear, unique_id="shapes")
    yield heard  # type: ignore[misc]
    for client in (aws.client, _client("autoscaling")):
        client.meta.events.unregister("after-call", unique_id="shapes")


@pytest.mark.parametrize("ending", ["completed", "skipped", "failed", "cancelled", "stopped"])
def test_every_answer_has_the_shape_of_the_services_model(
    aws: Aws, answers: list[tuple[str, str, Any]], ending: Any
) -> None:
    aws.agent.endings.append(ending)
    steps = aws.injector()
    now = Injection(stage="steady")
    while now.phase != "ended":
        now = steps.inject(now) if now.phase == "ready" else steps.step(now)
        aws.clock.sleep(0.3)
    aws.lever("engaged")
    model = aws.client.meta.service_model
    operations = {operation for service, operation, _ in answers if service == "fis"}
    assert operations == {
        *("GetSafetyLever", "UpdateSafetyLeverState", "GetExperimentTemplate", "CreateExperimentTemplate"),
        *("StartExperiment", "GetExperiment", "ListExperimentResolvedTargets", "ListExperimentTemplates"),
        "DeleteExperimentTemplate",
    }
    for service, operation, body in answers:
        if service == "fis":
            shape = model.operation_model(operation).output_shape
            document = json.loads(body)
            _times(document)
            report = ParamValidator().validate(document, shape)
            assert not report.has_errors(), (operation, report.generate_report())
            assert enums(shape, document) == [], operation


def test_the_group_has_the_words_of_the_services_model(aws: Aws) -> None:
    client = _client("autoscaling")
    answer = client.describe_auto_scaling_groups(AutoScalingGroupNames=[GROUP])
    shape = client.meta.service_model.operation_model("DescribeAutoScalingGroups").output_shape
    answer.pop("ResponseMetadata")
    assert not ParamValidator().validate(answer, shape).has_errors()
    assert enums(shape, answer) == []


def test_stopping_what_has_ended_is_answered_as_the_service_does(aws: Aws) -> None:
    steps = aws.injector()
    now = Injection(stage="steady")
    while now.phase != "ready":
        now = steps.step(now)
        aws.clock.sleep(0.3)
    assert now.preview_id is not None
    with pytest.raises(aws.client.exceptions.ValidationException):
        aws.client.stop_experiment(id=now.preview_id)
    assert gaps.ENDED


def _times(document: Any) -> None:
    """The protocol writes times as seconds since the epoch; the validator wants to see what they are read as."""
    from datetime import UTC, datetime

    if isinstance(document, dict):
        for name, value in document.items():
            if name.endswith("Time") and isinstance(value, (int, float)):
                document[name] = datetime.fromtimestamp(value, UTC)
            _times(value)
    elif isinstance(document, list):
        for value in document:
            _times(value)
