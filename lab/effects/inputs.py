"""Which files a job may read, with the hash that it names: regular files inside the allowed roots, and objects in S3.

Of an object, a file with its content in a root is as good. Else it is fetched, once, from the S3 of this process's AWS
settings.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

from lab.effects.problems import Refused
from pointsman.clock import SystemClock
from pointsman.errors import PointsmanError


class InputGate:
    """Checks inputs. Hashes are remembered by the file's identity, size and time of change, so that a clip which a
    thousand jobs read is hashed once."""

    def __init__(self, roots: Sequence[Path], *, fetched: Path) -> None:
        fetched.mkdir(parents=True, exist_ok=True)
        self._fetched = fetched
        self._roots = [root.resolve(strict=True) for root in (*roots, fetched)]
        self._hashes: dict[tuple[int, int, int, int], str] = {}

    def admit(self, uri: str, sha256: str) -> Path:
        """The resolved path of an input. Raises `Refused` (422) unless it lies in a root, is readable and matches."""
        if uri.startswith("s3:"):
            uri = str(self._at_hand(sha256) or self._fetch(uri, sha256))
        try:
            path = _path(uri).resolve(strict=True)
        except (OSError, ValueError, RuntimeError) as error:
            raise _refused("input_unreadable", f"input.uri: {uri!r} is no readable file ({error}).") from error
        if not any(path.is_relative_to(root) for root in self._roots):
            roots = ", ".join(str(root) for root in self._roots)
            raise _refused("input_outside_roots", f"input.uri: {uri!r} lies outside the allowed folders: {roots}.")
        if not path.is_file():
            raise _refused("input_unreadable", f"input.uri: {uri!r} is not a regular file.")
        try:
            found = self._sha256(path)
        except OSError as error:
            raise _refused("input_unreadable", f"input.uri: {uri!r} cannot be read ({error.strerror}).") from error
        if found != sha256:
            raise _refused("input_changed", f"input.sha256: {sha256} is asked for, but {uri!r} has {found}.")
        return path

    def _at_hand(self, sha256: str) -> Path | None:
        for path in [path for root in self._roots for path in sorted(root.iterdir())]:
            with suppress(OSError):  # a folder, or gone by now
                if self._sha256(path) == sha256:
                    return path
        return None

    def _fetch(self, uri: str, sha256: str) -> Path:
        # Imports the database toolkit, which a lab whose inputs lie on this machine need not wait for.
        from pointsman.storage.bucket import Bucket, BucketPlace, connect

        parts = urlsplit(uri)
        copy = self._fetched / f"{sha256}{Path(parts.path).suffix}"
        try:
            place = BucketPlace.parse(f"s3://{parts.netloc}")
            Bucket(place, connect(), SystemClock()).fetch(parts.path.lstrip("/"), copy)
        except PointsmanError as error:
            raise _refused("input_unreadable", f"input.uri: {uri!r} cannot be fetched ({error.message})") from error
        return copy

    def _sha256(self, path: Path) -> str:
        with path.open("rb") as file:
            stat = os.fstat(file.fileno())
            identity = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
            if identity not in self._hashes:
                self._hashes[identity] = hashlib.file_digest(file, "sha256").hexdigest()
        return self._hashes[identity]


def _path(uri: str) -> Path:
    parts = urlsplit(uri)
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and not parts.query and not parts.fragment:
        uri = unquote(parts.path)
    elif "://" in uri:
        raise ValueError("only file:// and s3:// are understood")
    if "\0" in uri or not uri.startswith("/"):
        raise ValueError("an absolute path is needed")
    return Path(uri)


def _refused(code: str, detail: str) -> Refused:
    return Refused(
        422,
        code,
        detail,
        "Send an s3:// URI, or an absolute path or file:// URI inside an --inputs-root; and the sha256.",
    )
