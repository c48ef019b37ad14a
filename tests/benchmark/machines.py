"""Machines that share a bucket kept in memory: what tests of whole matrices need of S3, without its seconds."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError
from botocore.response import StreamingBody

from pointsman.clock import ManualClock
from pointsman.storage import SharedResults
from pointsman.storage.bucket import Bucket
from tests.storage.buckets import PLACE, out


class Memory:
    """The calls of boto3's client that a `Bucket` makes for small files."""

    def __init__(self) -> None:
        self.objects: dict[str, tuple[bytes, dict[str, str]]] = {}
        self.is_out = False

    def put_object(self, *, Key: str, Body: bytes, Metadata: dict[str, str], **_: Any) -> None:
        self._reach()
        self.objects[Key] = (Body, Metadata)

    def head_object(self, *, Key: str, **_: Any) -> dict[str, Any]:
        body, metadata = self._object(Key)
        return {"ContentLength": len(body), "Metadata": metadata}

    def get_object(self, *, Key: str, **_: Any) -> dict[str, Any]:
        body, metadata = self._object(Key)
        return {"Body": StreamingBody(io.BytesIO(body), len(body)), "Metadata": metadata}

    def list_objects_v2(self, *, Prefix: str, **_: Any) -> dict[str, Any]:
        self._reach()
        return {"Contents": [{"Key": key} for key in sorted(self.objects) if key.startswith(Prefix)]}

    def _object(self, key: str) -> tuple[bytes, dict[str, str]]:
        self._reach()
        if key not in self.objects:
            raise ClientError({"Error": {"Code": "404", "Message": "no"}}, "S3")
        return self.objects[key]

    def _reach(self) -> None:
        if self.is_out:
            raise out()


class Machines:
    """Each has a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.bucket = Memory()

    def machine(self, name: str) -> SharedResults:
        clock = ManualClock()
        return SharedResults(self._folder / name, Bucket(PLACE, self.bucket, clock), clock)
