"""A gateway that is a hosted configuration of AWS AppConfig: whoever serves traffic gets it from AppConfig's agent.

The configuration is a flagd flag definition. A binding is a version of it and a deployment by the declared strategy,
or, where it goes back to what served before, by one that does not wait:
it is shown from when all targets have it, which is when its bake time begins. An alarm of the environment that rings
until the bake time is over lets AppConfig itself go back. That is found as drift, like any change behind our back.

Nobody overwrites anybody: a version names the one that it follows, and a deployment the one before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pointsman.clock import Clock, SystemClock
from pointsman.errors import Conflict, DependencyDown, PointsmanError, RunFailed
from pointsman.ids import RouteKey, VariantId
from pointsman.model import Binding
from pointsman.routing.gateways.flagd_document import (
    binding_in,
    new_document,
    put_binding,
    read_document,
    write_document,
)
from pointsman.routing.gateways.protocol import ShowsNoBinding

_SHOWN = ("BAKING", "COMPLETE")
_UNDER_WAY = ("VALIDATING", "DEPLOYING", "ROLLING_BACK")
_LOOK_EVERY_S = 1.0


class AppConfigSpec(BaseModel):
    """Which hosted configuration, where it is deployed, and how."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    application: str = Field(min_length=1, title="Application", description="Its id.")
    environment: str = Field(min_length=1, title="Environment", description="Its id.")
    profile: str = Field(min_length=1, title="Configuration profile", description="Id of a hosted freeform one.")
    strategy: str = Field(min_length=1, title="Deployment strategy", description="Its id; growth and bake time.")
    way_back: str = Field(
        default="AppConfig.AllAtOnce",
        min_length=1,
        title="Way back",
        description="Id of the strategy for going back and for restoring, which are not to wait.",
    )
    patience_s: float = Field(
        default=3600, title="Patience", description="Seconds until a deployment that does not end is stopped.", gt=0
    )


class AppConfigGateway:
    """Shows bindings in a hosted configuration; flags of other people in it stay as they are."""

    def __init__(self, client: Any, spec: AppConfigSpec, *, clock: Clock | None = None) -> None:
        self._client = client
        self._spec = spec
        self._clock = clock or SystemClock()
        self._environment = {"ApplicationId": spec.application, "EnvironmentId": spec.environment}
        self._profile = {"ApplicationId": spec.application, "ConfigurationProfileId": spec.profile}

    def read(self, key: RouteKey) -> Binding | None:
        """The binding of the newest version that all targets have. Raises `DependencyDown` and `ShowsNoBinding`."""
        document = self._document(self._deployments())
        try:
            return binding_in(document, key)
        except ValueError as error:
            raise ShowsNoBinding(
                f"{self._where} {error}.", instruction=f"pointsman route show {key} --drift --restore"
            ) from error

    def publish(self, new: Binding, *, expected: int | None, at_once: bool = False) -> None:
        """Show `new`, as the protocol says.

        Raises `DependencyDown` also for a deployment that was stopped after `patience_s`, and `RunFailed` for one that
        AppConfig rolled back.
        """
        deployments = self._deployments()
        document = self._document(deployments)
        shown = _binding(document, new.route_key)
        wanted = put_binding(document, new, shown, expected, where=self._where)
        if not wanted:
            return
        going = [one for one in deployments if one["State"] in _UNDER_WAY and self._mine(one)]
        if going and _binding(self._version(going[0]["ConfigurationVersion"]), new.route_key) == new:
            self._wait(going[0]["DeploymentNumber"], new)  # of the same change, which was cut short
            return
        if self._waited_for_others(deployments, new, shown, at_once):
            self.publish(new, expected=expected, at_once=at_once)
            return
        # What grows is of a change that was overtaken; what bakes has served.
        for one in deployments:
            if one["State"] in (*_UNDER_WAY, "BAKING") and self._mine(one):
                self._stop(one)
        versions = self._ask("list_hosted_configuration_versions", **self._profile, MaxResults=1)["Items"]
        latest = {"LatestVersionNumber": versions[0]["VersionNumber"]} if versions else {}
        made = self._ask(
            "create_hosted_configuration_version",
            **self._profile,
            **latest,
            Content=write_document(document),
            ContentType="application/json",
            Description=f"generation {new.generation} of {new.route_key}"[:1024],
        )
        before = {"LatestDeploymentNumber": deployments[0]["DeploymentNumber"]} if deployments else {}
        started = self._ask(
            "start_deployment",
            **self._environment,
            **before,
            DeploymentStrategyId=self._spec.way_back if at_once else self._spec.strategy,
            ConfigurationProfileId=self._spec.profile,
            ConfigurationVersion=str(made["VersionNumber"]),
            Description=new.cause[:1024],
        )
        self._wait(started["DeploymentNumber"], new)

    def _waited_for_others(self, deployments: list[Any], new: Binding, shown: Binding | None, at_once: bool) -> bool:
        """Wait until what is deployed of other profiles and routes has ended; False where nothing was.

        AppConfig deploys one thing at a time in an environment, and what others deploy is theirs to stop. Only going
        back, which is not to wait, stops what grows of another route of this profile.
        """
        for one in deployments:
            own = self._mine(one)
            if one["State"] not in (_UNDER_WAY if own else (*_UNDER_WAY, "BAKING")):
                continue
            if own and (at_once or _binding(self._version(one["ConfigurationVersion"]), new.route_key) != shown):
                continue
            if not self._ended(one["DeploymentNumber"], served=own):
                raise self._unusable(f"is not free: deployment {one['DeploymentNumber']} of others does not end")
            return True
        return False

    def unready(self, key: RouteKey, weights: Mapping[VariantId, int]) -> str:
        """A configuration names every variant; whether one serves is for those to see who read it."""
        return ""

    @property
    def _where(self) -> str:
        return f"The AppConfig profile {self._spec.profile} of {self._spec.application}"

    def _mine(self, deployment: Any) -> bool:
        return bool(deployment["ConfigurationProfileId"] == self._spec.profile)

    def _deployments(self) -> list[Any]:
        """Of the environment, newest first, as far back as to the one of the profile that serves.

        Profiles of other people may be deployed there far more often.
        """
        found: list[Any] = []
        page: dict[str, Any] = {}
        while not any(one["State"] in _SHOWN and self._mine(one) for one in found):
            answer = self._ask("list_deployments", **self._environment, MaxResults=50, **page)
            found += answer["Items"]
            if not answer.get("NextToken"):
                break
            page = {"NextToken": answer["NextToken"]}
        return found

    def _document(self, deployments: list[Any]) -> dict[str, Any]:
        served = next((one for one in deployments if one["State"] in _SHOWN and self._mine(one)), None)
        return new_document() if served is None else self._version(served["ConfigurationVersion"])

    def _version(self, number: str) -> dict[str, Any]:
        found = self._ask("get_hosted_configuration_version", **self._profile, VersionNumber=int(number))
        try:
            return read_document(found["Content"].read())
        except ValueError as error:
            raise self._unusable(str(error)) from error

    def _wait(self, number: int, new: Binding) -> None:
        give_up = self._clock.monotonic() + self._spec.patience_s
        while True:
            found = self._ask("get_deployment", **self._environment, DeploymentNumber=number)
            if found["State"] in _SHOWN:
                return
            if found["State"] not in _UNDER_WAY:
                events = "; ".join(one.get("Description", "") for one in found.get("EventLog", ())[:3])
                raise RunFailed(
                    f"AppConfig ended deployment {number} of generation {new.generation} as {found['State']}"
                    + (f": {events}" if events else "."),
                    instruction=f"pointsman route show {new.route_key}",
                    code="deployment_rolled_back",
                )
            if self._clock.monotonic() >= give_up:
                self._stop(found)
                raise self._unusable(f"did not show deployment {number} within {self._spec.patience_s:g} s; stopped it")
            self._clock.sleep(_LOOK_EVERY_S)

    def _stop(self, deployment: Any) -> None:
        """Let AppConfig go back to what served before this deployment."""
        number, state = deployment["DeploymentNumber"], deployment["State"]
        if state != "ROLLING_BACK":
            revert = {"AllowRevert": True} if state == "BAKING" else {}
            self._ask("stop_deployment", **self._environment, DeploymentNumber=number, **revert)
        if not self._ended(number):
            raise self._unusable(f"does not stop deployment {number}")

    def _ended(self, number: int, *, served: bool = False) -> bool:
        """Wait until a deployment has ended, or has `served`; False when that takes longer than `patience_s`."""
        give_up = self._clock.monotonic() + self._spec.patience_s
        under_way = _UNDER_WAY if served else (*_UNDER_WAY, "BAKING")
        while self._ask("get_deployment", **self._environment, DeploymentNumber=number)["State"] in under_way:
            if self._clock.monotonic() >= give_up:
                return False
            self._clock.sleep(_LOOK_EVERY_S)
        return True

    def _ask(self, call: str, **asked: Any) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError  # slow to import, and most commands ask no AWS

        try:
            return getattr(self._client, call)(**asked)
        except ClientError as error:
            code, said = error.response["Error"]["Code"], error.response["Error"].get("Message", "")
            if code == "ConflictException":
                raise Conflict(
                    f"{self._where} was changed by somebody else at the same moment: {said}.",
                    instruction="Repeat the same command.",
                    code="gateway_conflict",
                ) from error
            raise self._unusable(f"refused {call}: {code}: {said}") from error
        except BotoCoreError as error:
            raise self._unusable(f"cannot be reached: {error}") from error

    def _unusable(self, why: str) -> PointsmanError:
        return DependencyDown(
            f"{self._where} {why}.",
            instruction="Look at its deployments in AppConfig, then repeat the command; `pointsman route history` has "
            "what it should show.",
            code="gateway_unusable",
            profile=self._spec.profile,
        )


def _binding(document: dict[str, Any], key: RouteKey) -> Binding | None:
    """What is to be replaced; a flag that is no binding counts as nothing."""
    try:
        return binding_in(document, key)
    except ValueError:
        return None
