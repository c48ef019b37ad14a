"""Inputs of jobs that lie in S3: fetched once, held against the hash that the job names, refused by name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from lab.effects.inputs import InputGate
from lab.effects.problems import Refused

CLIP = b"a clip"
SHA256 = hashlib.sha256(CLIP).hexdigest()


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InputGate]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "of-a-test")
    with mock_aws():
        bucket = boto3.client("s3", region_name="us-east-1")
        bucket.create_bucket(Bucket="results")
        bucket.put_object(Bucket="results", Key="team/a.mp4", Body=CLIP, Metadata={"sha256": SHA256})
        yield InputGate([], fetched=tmp_path / "fetched")


def test_an_object_is_fetched_once(gate: InputGate, tmp_path: Path) -> None:
    path = gate.admit("s3://results/team/a.mp4", SHA256)
    assert path == (tmp_path / "fetched" / f"{SHA256}.mp4").resolve()
    assert path.read_bytes() == CLIP
    boto3.client("s3", region_name="us-east-1").delete_object(Bucket="results", Key="team/a.mp4")
    assert gate.admit("s3://results/team/a.mp4", SHA256) == path


def test_a_file_in_a_root_with_the_same_content_is_as_good(tmp_path: Path) -> None:
    for number, content in enumerate((b"another", CLIP)):
        (tmp_path / f"{number}.mp4").write_bytes(content)
    gate = InputGate([tmp_path], fetched=tmp_path / "fetched")
    assert gate.admit("s3://nowhere/a.mp4", SHA256) == (tmp_path / "1.mp4").resolve()


def test_an_object_that_is_not_there_or_is_another_is_refused(gate: InputGate) -> None:
    for uri, sha256, code in [
        ("s3://results/team/b.mp4", SHA256, "input_unreadable"),
        ("s3://results/team/a.mp4", "0" * 64, "input_changed"),
        ("s3:///a.mp4", "1" * 64, "input_unreadable"),
    ]:
        with pytest.raises(Refused) as refused:
            gate.admit(uri, sha256)
        assert (refused.value.code, refused.value.status) == (code, 422)
