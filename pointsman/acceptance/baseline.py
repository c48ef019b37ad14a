"""The baseline of an environment: what it consists of and how it stands, part by part, before it is tested."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from pointsman.acceptance.inventory import PARTS, Item, Place
from pointsman.errors import DependencyDown, NotFound
from pointsman.ids import check_id, derive
from pointsman.model import Missing
from pointsman.settings import AwsPlace
from pointsman.settings.read_only import ReadOnlyAws
from pointsman.storage import insert_absent, tables
from pointsman.workspace import Workspace

ARTIFACT_TYPE = "staging-baseline"
_FILE = "baseline.json"


@dataclass(frozen=True, slots=True)
class Baseline:
    """What was found. A part that could not be read is `Missing`, with the reason; an empty one was read."""

    run_id: str
    environment_id: str
    captured_at: datetime
    account: str | Missing
    region: str | None
    parts: Mapping[str, tuple[Item, ...] | Missing]
    calls: tuple[str, ...]
    uri: str


def capture_baseline(
    ws: Workspace, *, run_id: str, environment_id: str, region: str | None, cluster: str | None
) -> Baseline:
    """Look at everything, store it as JSON in the results store, and register it under the run.

    `region` and `cluster` default to what the environment was registered with, then to the region of the AWS settings
    and to all clusters. The same run again answers with what it found then. Raises `DependencyDown` when no part at all
    could be read.
    """
    check_id("run id", run_id)
    check_id("environment", environment_id)
    if (known := _stored(ws, run_id)) is not None:
        return known
    registered = _registered(ws, environment_id)
    aws = ReadOnlyAws(AwsPlace(registered.get("kind"), region or registered.get("region")))
    place = Place(aws, cluster or registered.get("ecs_cluster"))
    now = ws.clock.now()
    parts = {name: _read(place, name) for name in PARTS}
    missing = [part for part in parts.values() if isinstance(part, Missing)]
    if len(missing) == len(parts):
        raise DependencyDown(
            f"Nothing of {environment_id} could be read: {missing[0].reason}.",
            instruction="Check this process's AWS credentials, region and endpoint: `aws sts get-caller-identity`.",
            code="aws_unreachable",
        )
    folder = f"{environment_id}/baselines/{now:%Y%m%dT%H%M%S}/{run_id}"
    document = {
        "run_id": run_id,
        "environment": environment_id,
        "captured_at": now.isoformat(),
        "region": aws.region,
        **_with_reason("account", _account(aws)),
        "parts": {name: _part_document(part) for name, part in parts.items()},
        "calls": sorted(aws.calls),
    }
    stored = ws.results.write_json(f"{folder}/{_FILE}", document)
    row = {
        "id": derive("baseline", run_id),
        "run_id": run_id,
        "subject_id": environment_id,
        "artifact_type": ARTIFACT_TYPE,
        "uri": stored.uri,
        "sha256": stored.sha256,
        "bytes": stored.bytes,
        "created_at": now,
    }
    with ws.database.begin() as connection:
        insert_absent(connection, tables.run_artifacts, [row])
    return read_baseline(ws, run_id)


def read_baseline(ws: Workspace, run_id: str) -> Baseline:
    """What a run found. Raises `NotFound`."""
    found = _stored(ws, run_id)
    if found is None:
        raise NotFound("baseline", run_id, "the id of a run of capture-baseline")
    return found


def _stored(ws: Workspace, run_id: str) -> Baseline | None:
    artifacts = tables.run_artifacts
    wanted = sa.select(artifacts.c.uri).where(artifacts.c.run_id == run_id, artifacts.c.artifact_type == ARTIFACT_TYPE)
    with ws.database.connect() as connection:
        uri = connection.execute(wanted).scalar()
    if uri is None:
        return None
    document = json.loads(ws.results.local(uri).read_bytes())
    account = document["account"]
    return Baseline(
        run_id=run_id,
        environment_id=document["environment"],
        captured_at=datetime.fromisoformat(document["captured_at"]),
        account=Missing(document["missing"]["account"]) if account is None else account,
        region=document["region"],
        parts={
            name: Missing(part["missing"]) if part["items"] is None else tuple(part["items"])
            for name, part in ((name, document["parts"][name]) for name in PARTS)
        },
        calls=tuple(document["calls"]),
        uri=uri,
    )


def _registered(ws: Workspace, environment_id: str) -> Mapping[str, Any]:
    environments = tables.execution_environments
    with ws.database.connect() as connection:
        row = connection.execute(sa.select(environments).where(environments.c.id == environment_id)).mappings().first()
    return {} if row is None else dict(row)


def _read(place: Place, name: str) -> tuple[Item, ...] | Missing:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return tuple(sorted(PARTS[name](place), key=lambda item: (item.get("cluster") or "", item["name"])))
    except ClientError as error:
        told = error.response.get("Error", {})
        return Missing(f"{error.operation_name}: {told.get('Code', 'error')}: {told.get('Message', '')}".strip(" :"))
    except BotoCoreError as error:
        return Missing(f"{type(error).__name__}: {error}")


def _account(aws: ReadOnlyAws) -> str | Missing:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return str(aws.ask("sts", "get_caller_identity")["Account"])
    except (BotoCoreError, ClientError) as error:
        return Missing(str(error))


def _with_reason(name: str, value: str | Missing) -> dict[str, Any]:
    return {name: None, "missing": {name: value.reason}} if isinstance(value, Missing) else {name: value}


def _part_document(part: tuple[Item, ...] | Missing) -> dict[str, Any]:
    return {"items": None, "missing": part.reason} if isinstance(part, Missing) else {"items": list(part)}
