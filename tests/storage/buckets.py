"""A bucket as moto keeps it, whose client a test makes fail, and a clock that only waiting moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError
from moto import mock_aws

from pointsman.clock import ManualClock
from pointsman.storage import SharedResults, Spooled
from pointsman.storage.bucket import Bucket, BucketPlace

PLACE = BucketPlace("results", "team")


class Crash(BaseException):
    """Stands for the process dying at this point."""


def out() -> Exception:
    return EndpointConnectionError(endpoint_url="https://s3")


def refused(code: str) -> Exception:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "S3")


class Client:
    """boto3's, except that `trouble(call, number)` may raise first and `after(call)` afterwards."""

    def __init__(self) -> None:
        self._real = _client()
        self.calls: list[str] = []
        self.trouble: Callable[[str, int], None] = lambda call, number: None
        self.after: Callable[[str], None] = lambda call: None

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._real, name)

        def call(**arguments: Any) -> Any:
            self.calls.append(name)
            self.trouble(name, self.calls.count(name))
            answer = real(**arguments)
            self.after(name)
            return answer

        return call


@cache
def _client() -> Any:
    """Made once: reading the service's model takes longer than most tests."""
    once = Config(retries={"total_max_attempts": 1})
    key = {"aws_access_key_id": "of-a-test", "aws_secret_access_key": "of-a-test"}
    return boto3.client("s3", region_name="us-east-1", config=once, **key)


class World:
    """One bucket, and machines with folders of their own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.clock = ManualClock()
        self.client = Client()
        self.spooled: list[Spooled] = []
        _client().create_bucket(Bucket=PLACE.name)

    @property
    def bucket(self) -> Bucket:
        return Bucket(PLACE, self.client, self.clock)

    def machine(self, name: str = "one") -> SharedResults:
        """Again, it is a new process of that machine."""
        return SharedResults(self._folder / name, self.bucket, self.clock, on_spooled=self.spooled.append)

    def go_out(self, until_s: float = float("inf")) -> None:
        """S3 does not answer before that second."""

        def trouble(_call: str, _number: int) -> None:
            if self.clock.monotonic() < until_s:
                raise out()

        self.client.trouble = trouble

    def come_back(self) -> None:
        self.client.trouble = lambda call, number: None
        self.client.after = lambda call: None

    @property
    def kept(self) -> dict[str, bytes]:
        found = _client().list_objects_v2(Bucket=PLACE.name).get("Contents", ())
        read = {one["Key"]: _client().get_object(Bucket=PLACE.name, Key=one["Key"])["Body"].read() for one in found}
        return {key.removeprefix("team/"): content for key, content in read.items()}

    @property
    def begun(self) -> list[Any]:
        """Uploads in parts that were not ended, which somebody pays for."""
        return list(_client().list_multipart_uploads(Bucket=PLACE.name).get("Uploads", ()))


@contextmanager
def world(folder: Path) -> Iterator[World]:
    with mock_aws():
        yield World(folder)
