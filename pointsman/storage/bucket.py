"""One prefix of an S3 bucket: whole files in, verified files out, with bounded memory and nothing left half done.

Every object carries the sha256 of its content, and what is read is held against it. Trouble that may pass is tried
again for some seconds; what remains is `DependencyDown` with a name: `results_denied`, `results_bucket_missing` or
`results_unreachable`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import urlsplit

from pointsman.clock import Clock
from pointsman.errors import DataCheckFailed, DependencyDown, InputRefused, NotFound

PART_BYTES = 8 * 2**20
"""Larger files go up in parts of this size, one after the other; no more than one is ever in memory."""
_MOST_PARTS = 10_000
_PAUSES_S = (0.5, 1.0, 2.0, 4.0)
_REFUSED = frozenset({"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "403"})
_NOT_THERE = frozenset({"404", "NoSuchKey", "NotFound"})
_NO_BUCKET = "NoSuchBucket"
_DRAIN = "pointsman doctor --drain"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StoredFile:
    """What was written: its URI, hash and size."""

    uri: str
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class BucketPlace:
    """`s3://name/prefix`; the prefix may be empty."""

    name: str
    prefix: str

    @classmethod
    def parse(cls, uri: str) -> BucketPlace:
        parts = urlsplit(uri)
        if parts.scheme != "s3" or not parts.netloc or parts.query or parts.fragment:
            raise InputRefused("POINTSMAN_RESULTS_URI", uri, "s3://bucket or s3://bucket/prefix")
        return cls(parts.netloc, parts.path.strip("/"))

    def __str__(self) -> str:
        return f"s3://{self.name}/{self.prefix}" if self.prefix else f"s3://{self.name}"

    def key(self, relative: str) -> str:
        return f"{self.prefix}/{relative}" if self.prefix else relative

    def uri(self, relative: str) -> str:
        return f"{self}/{relative}"


class Bucket:
    """`client` is boto3's for S3, without retries of its own. Paths are relative to the place."""

    def __init__(self, place: BucketPlace, client: Any, clock: Clock) -> None:
        self.place = place
        self._client = client
        self._clock = clock

    def put(self, path: Path, relative: str) -> StoredFile:
        """Upload the file as it is now; what is there already with the same content is left as it is."""
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
            stored = StoredFile(self.place.uri(relative), digest, size)
            if not self._has(stored, relative):
                file.seek(0)
                at = {"Bucket": self.place.name, "Key": self.place.key(relative)}
                if size <= PART_BYTES:
                    body = file.read()
                    self._ask(lambda: self._client.put_object(**at, Body=body, Metadata={"sha256": digest}))
                else:
                    self._put_parts(file, size, at, digest)
        return stored

    def has(self, relative: str) -> bool:
        """Whether there is such a file. Needs no more than the right to list."""
        key = self.place.key(relative)
        asked = {"Bucket": self.place.name, "Prefix": key, "MaxKeys": 1}
        page = self._ask(lambda: self._client.list_objects_v2(**asked)) or {}
        return any(one["Key"] == key for one in page.get("Contents", ()))

    def names(self, folder: str) -> Iterator[str]:
        """The relative paths of all files below the folder, in order."""
        start = self.place.key("")
        asked: dict[str, Any] = {"Bucket": self.place.name, "Prefix": self.place.key(f"{folder}/")}
        while True:
            page = self._ask(lambda: self._client.list_objects_v2(**asked)) or {}
            for one in page.get("Contents", ()):
                yield one["Key"].removeprefix(start)
            if not page.get("IsTruncated"):
                return
            asked["ContinuationToken"] = page["NextContinuationToken"]

    def look(self, relative: str) -> StoredFile | None:
        """What is stored there; None when nothing is. The hash is empty where somebody else wrote the object."""
        at = {"Bucket": self.place.name, "Key": self.place.key(relative)}
        found = self._ask(lambda: self._client.head_object(**at))
        if found is None:
            return None
        return StoredFile(self.place.uri(relative), found["Metadata"].get("sha256", ""), found["ContentLength"])

    def fetch(self, relative: str, path: Path) -> StoredFile:
        """Download into the file, whole or not at all.

        Raises `NotFound`, and `DataCheckFailed` (`results_damaged`) when the content is not what was uploaded.
        """
        at = {"Bucket": self.place.name, "Key": self.place.key(relative)}
        found = self._ask(lambda: self._download(at, path))
        if found is None:
            raise NotFound("results path", relative, f"files under {self.place}")
        temporary, digest, size, told = found
        try:
            if digest != told:
                uri = self.place.uri(relative)
                raise DataCheckFailed(
                    f"{uri} is not what was uploaded: its sha256 is {digest}, and not {told or 'a known one'}.",
                    instruction=f"Restore an earlier version of {uri}, or run what wrote it again.",
                    code="results_damaged",
                )
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        return StoredFile(self.place.uri(relative), digest, size)

    def digest(self, relative: str) -> str | None:
        """Hex sha256 of the content that is there, read through and not kept; None when nothing is."""
        at = {"Bucket": self.place.name, "Key": self.place.key(relative)}
        return self._ask(lambda: self._hash(at))

    def reach(self) -> None:
        """Raise `DependencyDown` when the bucket does not answer."""
        if self._ask(lambda: self._client.head_bucket(Bucket=self.place.name)) is None:
            raise self._down(_NO_BUCKET)

    def _has(self, wanted: StoredFile, relative: str) -> bool:
        try:
            return self.look(relative) == wanted
        except DependencyDown as error:
            if error.code == "results_denied":  # said of what is not there, too, where only some prefixes may be listed
                return False
            raise

    def _put_parts(self, file: IO[bytes], size: int, at: dict[str, Any], digest: str) -> None:
        """Parts of an upload that fails are taken back, and those that a killed process left at this key before."""
        self._take_back(at, self._left_at(at))
        asked = self._ask(lambda: self._client.create_multipart_upload(**at, Metadata={"sha256": digest}))
        upload = {**at, "UploadId": (asked or {})["UploadId"]}
        part_bytes = max(PART_BYTES, -(-size // _MOST_PARTS))
        parts: list[dict[str, Any]] = []
        try:
            while body := file.read(part_bytes):
                number = len(parts) + 1
                put = {**upload, "PartNumber": number, "Body": body}
                told = self._ask(lambda put=put: self._client.upload_part(**put))  # type: ignore[misc]
                parts.append({"PartNumber": number, "ETag": (told or {})["ETag"]})
            whole = {"Parts": parts}
            self._ask(lambda: self._client.complete_multipart_upload(**upload, MultipartUpload=whole))
        except BaseException:
            self._take_back(at, [upload["UploadId"]])
            raise

    def _left_at(self, at: dict[str, Any]) -> list[str]:
        """The uploads to this key that were begun and not ended."""
        asked = {"Bucket": at["Bucket"], "Prefix": at["Key"]}
        try:
            begun = self._try(lambda: self._client.list_multipart_uploads(**asked)) or {}
        except _Trouble:
            return []
        return [one["UploadId"] for one in begun.get("Uploads", ()) if one["Key"] == at["Key"]]

    def _take_back(self, at: dict[str, Any], uploads: Sequence[str]) -> None:
        """What cannot be taken back now, the next upload to the key takes, and the bucket's lifecycle in the end."""
        for one in uploads:
            upload = {**at, "UploadId": one}
            with contextlib.suppress(_Trouble):
                self._try(lambda upload=upload: self._client.abort_multipart_upload(**upload))  # type: ignore[misc]

    def _download(self, at: dict[str, Any], path: Path) -> tuple[Path, str, int, str]:
        got = self._client.get_object(**at)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        digest, size = hashlib.sha256(), 0
        try:
            with os.fdopen(handle, "wb") as file:
                for chunk in got["Body"].iter_chunks(2**20):
                    digest.update(chunk)
                    size += file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        return Path(name), digest.hexdigest(), size, got["Metadata"].get("sha256", "")

    def _hash(self, at: dict[str, Any]) -> str:
        digest = hashlib.sha256()
        for chunk in self._client.get_object(**at)["Body"].iter_chunks(2**20):
            digest.update(chunk)
        return digest.hexdigest()

    def _ask(self, call: Callable[[], T]) -> T | None:
        """What the call answers, None for an object that is not there. Tries again what may pass."""
        for pause_s in (*_PAUSES_S, None):
            try:
                return self._try(call)
            except _Trouble as trouble:
                if pause_s is None or trouble.lasting:
                    raise self._down(trouble.why) from None
                self._clock.sleep(pause_s)
        raise AssertionError

    def _try(self, call: Callable[[], T]) -> T | None:
        from botocore.exceptions import (
            BotoCoreError,
            ClientError,
            NoCredentialsError,
            ParamValidationError,
            PartialCredentialsError,
        )
        from urllib3.exceptions import HTTPError

        try:
            return call()
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code in _NOT_THERE:
                return None
            raise _Trouble(code, lasting=code in _REFUSED or code == _NO_BUCKET) from error
        except (NoCredentialsError, PartialCredentialsError, ParamValidationError) as error:
            raise _Trouble(type(error).__name__, lasting=True) from error
        except (BotoCoreError, HTTPError, ConnectionError, TimeoutError) as error:
            raise _Trouble(type(error).__name__, lasting=False) from error

    def _down(self, why: str) -> DependencyDown:
        if why == _NO_BUCKET:
            said, code = f"There is no bucket {self.place.name}", "results_bucket_missing"
            advice = "Check POINTSMAN_RESULTS_URI or create the bucket"
        elif why in _REFUSED or "Credentials" in why:
            said, code = f"{self.place} does not let this process read and write ({why})", "results_denied"
            advice = "Give its role s3:GetObject, s3:PutObject and s3:ListBucket there, or it credentials"
        else:
            said, code = f"{self.place} does not answer ({why})", "results_unreachable"
            advice = "Wait until S3 answers again"
        return DependencyDown(f"{said}.", instruction=f"{advice}, then: {_DRAIN}", code=code)


class _Trouble(Exception):
    """`lasting`: trying again in a second changes nothing."""

    def __init__(self, why: str, *, lasting: bool) -> None:
        super().__init__(why)
        self.why = why
        self.lasting = lasting


def connect() -> Any:
    """boto3's client of the usual AWS settings."""
    import boto3
    from botocore.config import Config

    once = Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=30)
    return boto3.client("s3", config=once)


def scan_options() -> dict[str, str]:
    """The same settings as polars takes them."""
    import boto3

    session = boto3.Session()
    client = session.client("s3")
    found = session.get_credentials()
    options = {"aws_region": str(client.meta.region_name)}
    if found is not None:
        key = found.get_frozen_credentials()
        options |= {"aws_access_key_id": str(key.access_key), "aws_secret_access_key": str(key.secret_key)}
        options |= {"aws_session_token": key.token} if key.token else {}
    endpoint = str(client.meta.endpoint_url)
    if ".amazonaws.com" not in endpoint:
        options |= {"aws_endpoint_url": endpoint, "aws_allow_http": "true"}
    return options
