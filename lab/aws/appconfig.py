"""AppConfig as far as a routing gateway uses it: hosted configurations, deployment strategies, deployments that grow,
bake and are stopped. moto has only the hosted configurations, so all of it stands here.

A WSGI door in front of moto's application. Time is the caller's clock; `minute_s` says how long a minute of a strategy
lasts, so that a lab need not wait for a bake time. An alarm that rings while a deployment is under way rolls it back.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

from pointsman.clock import Clock

Environ = dict[str, Any]
_UNDER_WAY = ("DEPLOYING", "BAKING")
_AT_ONCE: dict[str, Any] = {  # there without anybody making it
    "Id": "AppConfig.AllAtOnce",
    "Name": "AppConfig.AllAtOnce",
    "DeploymentDurationInMinutes": 0,
    "GrowthType": "LINEAR",
    "GrowthFactor": 100,
    "FinalBakeTimeInMinutes": 10,
}
_ROUTE = re.compile(
    r"/(?P<root>applications|deploymentstrategies)(?:/(?P<id>[^/]+)(?:/(?P<kind>configurationprofiles|environments)"
    r"(?:/(?P<child>[^/]+)(?:/(?P<leaf>hostedconfigurationversions|deployments)(?:/(?P<number>\d+))?)?)?)?)?/?$"
)


class Refused(Exception):
    """An answer that is an error, in AppConfig's words."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


@dataclass
class _Application:
    name: str
    profiles: dict[str, _Profile] = field(default_factory=dict)
    environments: dict[str, _Environment] = field(default_factory=dict)


@dataclass
class _Profile:
    name: str
    versions: list[tuple[bytes, str]] = field(default_factory=list)


@dataclass
class _Environment:
    name: str
    deployments: list[dict[str, Any]] = field(default_factory=list)


class AppConfig:
    """The service of one region, in memory."""

    def __init__(self, clock: Clock, *, minute_s: float = 1.0) -> None:
        self._clock = clock
        self._minute_s = minute_s
        self._applications: dict[str, _Application] = {}
        self._strategies: dict[str, dict[str, Any]] = {_AT_ONCE["Id"]: _AT_ONCE}
        self._lock = threading.Lock()

    def ring(self, application_id: str, environment_id: str) -> None:
        """Let an alarm of the environment ring: what is under way is rolled back."""
        with self._lock:
            environment = self._applications[application_id].environments[environment_id]
            self._move(environment)
            for one in environment.deployments:
                if one["State"] in _UNDER_WAY:
                    one["State"] = "ROLLED_BACK"

    def answer(
        self, method: str, path: str, headers: dict[str, str], body: bytes, query: Mapping[str, str]
    ) -> tuple[int, dict[str, str], bytes]:
        """One request. Raises `Refused`."""
        found = _ROUTE.match(path)
        if found is None:
            raise Refused(404, "ResourceNotFoundException", f"no such path: {path}")
        with self._lock:
            return self._dispatch(method, found, headers, body, query)

    def _dispatch(
        self, method: str, found: re.Match[str], headers: dict[str, str], body: bytes, query: Mapping[str, str]
    ) -> tuple[int, dict[str, str], bytes]:
        if found["root"] == "deploymentstrategies":
            return self._strategy(method, found["id"], body)
        if found["id"] is None:
            asked = json.loads(body)
            made = _Application(asked["Name"])
            number = self._fresh(self._applications, made)
            return _json(201, {"Id": number, "Name": made.name})
        application = _of(self._applications, found["id"], "Application")
        children: dict[str, Any] = (
            application.profiles if found["kind"] == "configurationprofiles" else application.environments
        )
        if found["child"] is None:
            asked = json.loads(body)
            profile = found["kind"] == "configurationprofiles"
            new: Any = _Profile(asked["Name"]) if profile else _Environment(asked["Name"])
            child = self._fresh(children, new)
            said = {"ApplicationId": found["id"], "Id": child, "Name": new.name}
            if not profile:
                said["State"] = "READY_FOR_DEPLOYMENT"
            return _json(201, said)
        child = _of(children, found["child"], "Resource")
        if found["leaf"] == "hostedconfigurationversions":
            return self._version(method, found, child, headers, body)
        if found["leaf"] == "deployments":
            self._move(child)
            return self._deployment(method, found, application, child, headers, body, query)
        raise Refused(404, "ResourceNotFoundException", "no such path")

    def _fresh(self, among: dict[str, Any], value: Any) -> str:
        number = f"a{len(among):06x}"
        among[number] = value
        return number

    def _strategy(self, method: str, strategy_id: str | None, body: bytes) -> tuple[int, dict[str, str], bytes]:
        if method == "POST":
            asked = json.loads(body)
            known = ("Name", "DeploymentDurationInMinutes", "GrowthFactor", "GrowthType", "FinalBakeTimeInMinutes")
            made = {"GrowthType": "LINEAR", "FinalBakeTimeInMinutes": 0} | {k: asked[k] for k in known if k in asked}
            made["Id"] = self._fresh(self._strategies, made)
            return _json(201, made)
        return _json(200, _of(self._strategies, strategy_id or "", "DeploymentStrategy"))

    def _version(
        self, method: str, found: re.Match[str], profile: _Profile, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        def shown(number: int) -> dict[str, str]:
            said = {"Application-Id": found["id"], "Configuration-Profile-Id": found["child"]}
            return {**said, "Version-Number": str(number), "Content-Type": profile.versions[number - 1][1]}

        if method == "POST":
            latest = headers.get("latest-version-number")
            if latest is not None and int(latest) != len(profile.versions):
                raise Refused(409, "ConflictException", f"the latest version is {len(profile.versions)}")
            profile.versions.append((body, headers["content-type"]))
            return 201, shown(len(profile.versions)), body
        if found["number"] is None:
            items = [
                {
                    "ApplicationId": found["id"],
                    "ConfigurationProfileId": found["child"],
                    "VersionNumber": number,
                    "ContentType": profile.versions[number - 1][1],
                }
                for number in range(len(profile.versions), 0, -1)
            ]
            return _json(200, {"Items": items})
        number = int(found["number"])
        if not 1 <= number <= len(profile.versions):
            raise Refused(404, "ResourceNotFoundException", f"no version {number}")
        return 200, shown(number), profile.versions[number - 1][0]

    def _deployment(
        self,
        method: str,
        found: re.Match[str],
        application: _Application,
        environment: _Environment,
        headers: dict[str, str],
        body: bytes,
        query: Mapping[str, str],
    ) -> tuple[int, dict[str, str], bytes]:
        known = environment.deployments
        if method == "POST":
            asked = json.loads(body)
            if known and known[-1]["State"] in _UNDER_WAY:
                raise Refused(409, "ConflictException", f"deployment {len(known)} is under way")
            if asked.get("LatestDeploymentNumber") not in (None, len(known)):
                raise Refused(409, "ConflictException", f"the latest deployment is {len(known)}")
            profile = _of(application.profiles, asked["ConfigurationProfileId"], "ConfigurationProfile")
            if not 1 <= int(asked["ConfigurationVersion"]) <= len(profile.versions):
                raise Refused(404, "ResourceNotFoundException", "no such version")
            strategy = _of(self._strategies, asked["DeploymentStrategyId"], "DeploymentStrategy")
            made = {
                "ApplicationId": found["id"],
                "EnvironmentId": found["child"],
                "DeploymentStrategyId": strategy["Id"],
                "ConfigurationProfileId": asked["ConfigurationProfileId"],
                "DeploymentNumber": len(known) + 1,
                "ConfigurationName": profile.name,
                "ConfigurationLocationUri": "hosted",
                "ConfigurationVersion": str(asked["ConfigurationVersion"]),
                "Description": asked.get("Description", ""),
                **{
                    name: strategy[name]
                    for name in ("DeploymentDurationInMinutes", "GrowthType", "GrowthFactor", "FinalBakeTimeInMinutes")
                },
                "State": "DEPLOYING",
                "EventLog": [],
                "PercentageComplete": 1.0,
                "StartedAt": _time(self._clock.now()),
            }
            known.append(made)
            self._move(environment)
            return _json(201, made)
        if found["number"] is None:
            names = ("DeploymentNumber", "ConfigurationProfileId", "ConfigurationName", "ConfigurationVersion")
            names += ("DeploymentDurationInMinutes", "GrowthType", "GrowthFactor", "FinalBakeTimeInMinutes", "State")
            names += ("PercentageComplete", "StartedAt", "CompletedAt")
            items = [{n: one[n] for n in names if n in one} for one in reversed(known)]
            first = int(query.get("next_token", 0))
            end = first + int(query.get("max_results", 50))
            return _json(200, {"Items": items[first:end]} | ({"NextToken": str(end)} if end < len(items) else {}))
        if not 1 <= int(found["number"]) <= len(known):
            raise Refused(404, "ResourceNotFoundException", f"no deployment {found['number']}")
        one = known[int(found["number"]) - 1]
        if method == "DELETE":
            revert = headers.get("allow-revert", "").lower() == "true"
            if one["State"] == "DEPLOYING" or (revert and one["State"] == "BAKING"):
                one["State"] = "ROLLED_BACK"
            elif revert and one["State"] == "COMPLETE":
                one["State"] = "REVERTED"
            else:
                raise Refused(400, "BadRequestException", f"the deployment is {one['State']}")
            return _json(202, one)
        return _json(200, one)

    def _move(self, environment: _Environment) -> None:
        """Everything under way to where it is by now."""
        for one in environment.deployments:
            if one["State"] not in _UNDER_WAY:
                continue
            minutes = (self._clock.now() - datetime.fromisoformat(one["StartedAt"])).total_seconds() / self._minute_s
            growing, baking = one["DeploymentDurationInMinutes"], one["FinalBakeTimeInMinutes"]
            one["PercentageComplete"] = 100.0 if minutes >= growing else max(1.0, 100 * minutes / growing)
            one["State"] = "DEPLOYING" if minutes < growing else "BAKING"
            if minutes >= growing + baking:
                one["State"] = "COMPLETE"
                ended = timedelta(seconds=(growing + baking) * self._minute_s)
                one["CompletedAt"] = _time(datetime.fromisoformat(one["StartedAt"]) + ended)


class AppConfigDoor:
    """WSGI: AppConfig's requests go to the stand-in, all others to what stands behind."""

    def __init__(self, behind: Callable[..., Iterable[bytes]], appconfig: AppConfig) -> None:
        self._behind = behind
        self._appconfig = appconfig

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        if "/appconfig/aws4_request" not in environ.get("HTTP_AUTHORIZATION", ""):
            return self._behind(environ, start_response)
        headers = {name[5:].replace("_", "-").lower(): value for name, value in environ.items() if name[:5] == "HTTP_"}
        headers["content-type"] = environ.get("CONTENT_TYPE", "")
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        try:
            query = dict(parse_qsl(environ.get("QUERY_STRING", "")))
            status, said, content = self._appconfig.answer(
                environ["REQUEST_METHOD"], environ["PATH_INFO"], headers, body, query
            )
        except Refused as refused:
            status, said = refused.status, {"x-amzn-errortype": refused.code, "Content-Type": "application/json"}
            content = json.dumps({"Message": str(refused)}).encode()
        start_response(f"{status} Answer", [*said.items(), ("Content-Length", str(len(content)))])
        return [content]


def _json(status: int, document: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
    return status, {"Content-Type": "application/json"}, json.dumps(document).encode()


def _of(known: dict[str, Any], key: str, kind: str) -> Any:
    if key not in known:
        raise Refused(404, "ResourceNotFoundException", f"{kind} {key} could not be found")
    return known[key]


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat()
