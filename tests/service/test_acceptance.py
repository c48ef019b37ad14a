"""`pointsman acceptance baseline` runs the flow, and the Prefect UI shows what was found."""

import json
from pathlib import Path
from urllib.parse import urlparse

import boto3
import pytest
from moto import mock_aws
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("world")]


def test_a_baseline_is_captured_kept_and_shown(lab_world, pointsman, monkeypatch):
    for name, value in (("DEFAULT_REGION", "eu-west-1"), ("ACCESS_KEY_ID", "x"), ("SECRET_ACCESS_KEY", "x")):
        monkeypatch.setenv(f"AWS_{name}", value)
    with mock_aws():
        boto3.client("ecs").create_cluster(clusterName="staging")
        answer = pointsman("acceptance", "baseline", "--json")
        shown = pointsman("acceptance", "baseline")
    assert (answer.code, shown.code) == (0, 0), answer.err + shown.err
    (cluster,) = answer.document["parts"]["ecs clusters"]["items"]
    assert cluster["name"] == "staging"
    kept = json.loads(Path(urlparse(answer.document["uri"]).path).read_text())
    assert kept["parts"] == answer.document["parts"]
    assert "Everything: file://" in shown.out
    with get_client(sync_client=True) as client:
        key = ArtifactFilter(key=ArtifactFilterKey(any_=["staging-baseline"]))
        artifacts = [str(one.data) for one in client.read_artifacts(artifact_filter=key)]
    assert len(artifacts) == 2
    assert all("12 of 12 parts of staging were read, none changed" in one for one in artifacts)
