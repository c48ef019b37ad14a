"""The few calls to Auto Scaling and FIS that a fault needs, and what their errors mean for the run.

Every call may be repeated: creations carry a client token. A call waits five seconds at most and is not retried here,
because whoever calls also watches the run; `DependencyDown` with code `aws_unreachable` means: try again later.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pointsman.errors import DependencyDown, GuardRefused, InputRefused, NotFound
from pointsman.scenario.faults.choosing import Group
from pointsman.scenario.faults.outcomes import experiment_state
from pointsman.settings import AwsPlace

_LATER = frozenset({"Throttling", "ThrottlingException", "RequestLimitExceeded", "ServiceUnavailable", "InternalError"})
_LEVER = "default"
"""Every account has one safety lever per region, of this id."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """A FIS experiment as it stands. `actions` are the states of its actions."""

    id: str
    arn: str
    status: str
    reason: str
    actions: tuple[str, ...]
    started_at: datetime | None
    ended_at: datetime | None


class FaultAws:
    """Auto Scaling and FIS of one account and region, as boto3 clients."""

    def __init__(self, autoscaling: Any, fis: Any) -> None:
        self._autoscaling = autoscaling
        self._fis = fis

    @classmethod
    def at(cls, place: AwsPlace) -> FaultAws:
        """Raises what `AwsPlace.open` raises, and `DependencyDown` for settings that no client can be made of."""
        from botocore.config import Config

        config = Config(connect_timeout=2, read_timeout=3, retries={"total_max_attempts": 1})
        with _named():
            clients = place.open()
            return cls(clients.client("autoscaling", config), clients.client("fis", config))

    def group(self, name: str) -> Group:
        """The Auto Scaling group. Raises `NotFound` when there is none of this name."""
        with _named():
            found = self._autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
        if not found:
            raise NotFound(
                "environment, asg_name", name, "the name of an Auto Scaling group of the environment's region"
            )
        members = found[0]["Instances"]
        return Group(
            name=name,
            arn=found[0]["AutoScalingGroupARN"],
            members=tuple(one["InstanceId"] for one in members),
            healthy=tuple(
                one["InstanceId"]
                for one in members
                if one["LifecycleState"] == "InService" and one["HealthStatus"].lower() == "healthy"
            ),
        )

    def refuse_engaged_lever(self) -> None:
        """Raise `GuardRefused` (`fault_safety_lever`) unless the account's safety lever is disengaged."""
        with _named():
            state = self._fis.get_safety_lever(id=_LEVER)["safetyLever"]["state"]
        if state["status"] != "disengaged":
            raise GuardRefused(
                f"The FIS safety lever of the account is {state['status']} ({state.get('reason', 'no reason given')}): "
                "no experiment may run.",
                instruction="Ask whoever engaged it; when it is disengaged, run the scenario again.",
                code="fault_safety_lever",
            )

    def template(self, template_id: str) -> Mapping[str, Any]:
        """The experiment template. Raises `NotFound`."""
        with _named("template", template_id):
            found: Mapping[str, Any] = self._fis.get_experiment_template(id=template_id)["experimentTemplate"]
        return found

    def create_template(self, token: str, request: Mapping[str, Any]) -> str:
        """The id of the template that this token stands for, made now or before."""
        with _named():
            return str(self._fis.create_experiment_template(clientToken=token, **request)["experimentTemplate"]["id"])

    def start(self, token: str, template_id: str, *, actions: bool, tags: Mapping[str, str]) -> Experiment:
        """Start an experiment, or with `actions=False` only see what it would act on. The same token, the same one."""
        mode = "run-all" if actions else "skip-all"
        with _named("per-run template", template_id):
            return _experiment(
                self._fis.start_experiment(
                    clientToken=token,
                    experimentTemplateId=template_id,
                    experimentOptions={"actionsMode": mode},
                    tags=dict(tags),
                )
            )

    def experiment(self, experiment_id: str) -> Experiment:
        with _named("experiment", experiment_id):
            return _experiment(self._fis.get_experiment(id=experiment_id))

    def resolved(self, experiment_id: str) -> list[str]:
        """The ARNs that the experiment acts on. One that FIS does not name by ARN is shown as it is."""
        with _named("experiment", experiment_id):
            return [
                str(target.get("targetInformation", {}).get("arn") or target)
                for page in self._pages("list_experiment_resolved_targets", experimentId=experiment_id)
                for target in page["resolvedTargets"]
            ]

    def stop(self, experiment_id: str) -> Experiment:
        """Stop the experiment if it has not ended. Returns it as it then is."""
        found = self.experiment(experiment_id)
        if experiment_state(found.status).ended or found.status == "stopping":
            return found
        try:
            with _named("experiment", experiment_id):
                return _experiment(self._fis.stop_experiment(id=experiment_id))
        except InputRefused:
            # It ended between the two calls: then AWS has nothing to stop.
            found = self.experiment(experiment_id)
            if experiment_state(found.status).ended:
                return found
            raise

    def templates_tagged(self, tags: Mapping[str, str]) -> list[str]:
        """The ids of the templates that carry all of these tags."""
        with _named():
            return [
                str(one["id"])
                for page in self._pages("list_experiment_templates")
                for one in page["experimentTemplates"]
                if tags.items() <= one.get("tags", {}).items()
            ]

    def experiments_of(self, template_id: str) -> list[str]:
        """The ids of all experiments that were started from the template."""
        with _named("template", template_id):
            return [
                str(one["id"])
                for page in self._pages("list_experiments", experimentTemplateId=template_id)
                for one in page["experiments"]
            ]

    def delete_template(self, template_id: str) -> None:
        """Delete the template; one that is gone already is well."""
        try:
            with _named("template", template_id):
                self._fis.delete_experiment_template(id=template_id)
        except NotFound:
            return

    def _pages(self, operation: str, **request: Any) -> Iterator[Mapping[str, Any]]:
        token: str | None = None
        while True:
            page = getattr(self._fis, operation)(**request, **({"nextToken": token} if token else {}))
            yield page
            token = page.get("nextToken")
            if not token:
                return


def _experiment(answer: Mapping[str, Any]) -> Experiment:
    found = answer["experiment"]
    state = found["state"]
    return Experiment(
        id=found["id"],
        arn=found["arn"],
        status=state["status"],
        reason=state.get("reason", ""),
        actions=tuple(action.get("state", {}).get("status", "pending") for action in found.get("actions", {}).values()),
        started_at=found.get("startTime"),
        ended_at=found.get("endTime"),
    )


@contextmanager
def _named(what: str = "request", value: str = "") -> Iterator[None]:
    """Errors of boto3 as errors of ours."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        code = str(error.response["Error"].get("Code", ""))
        said = str(error.response["Error"].get("Message", ""))[:300]
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if code == "ResourceNotFoundException":
            raise NotFound(f"FIS {what}", value, "one that exists in the environment's account and region") from error
        if code == "ServiceQuotaExceededException":
            raise GuardRefused(
                f"A quota of AWS FIS is used up: {said}",
                instruction="Wait until other experiments have ended, or ask AWS for more; then run it again.",
                code="fault_quota",
            ) from error
        if code in ("ValidationException", "ConflictException"):
            raise InputRefused(
                f"FIS {what}", value or code, f"what FIS takes ({said})", code="fault_refused"
            ) from error
        if code in _LATER or status >= 500 or status == 429:
            raise _unreachable(f"{code}: {said}") from error
        raise DependencyDown(
            f"AWS refused: {code}: {said}",
            instruction="Give the role of this process fis:* and autoscaling:Describe*; then run it again.",
            code="aws_denied",
        ) from error
    except BotoCoreError as error:
        raise _unreachable(str(error)[:300]) from error


def _unreachable(said: str) -> DependencyDown:
    return DependencyDown(
        f"AWS is out of reach: {said}",
        instruction="Check the network and the AWS settings of this process (the lab's AWS: `pointsman up`); "
        "then run it again.",
        code="aws_unreachable",
    )
