"""The results store: files by relative path under one root, each written whole or not at all. Here in a folder."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from pydantic import BaseModel, ConfigDict, Field

from pointsman.canonical import canonical_json
from pointsman.errors import InputRefused, NotFound
from pointsman.storage.bucket import StoredFile

PATIENCE_S = 75.0
"""How long the beginning and the end of a run wait for a store that does not answer: a task on ECS takes its disk with
it."""


@dataclass(frozen=True, slots=True)
class Uploads:
    """What became of uploads: so many files are where others can read them, so many wait."""

    uploaded: int
    left: int


def write_atomically(path: Path, content: bytes, *, mode: int | None = None) -> None:
    """Write `content` to `path` so that a reader sees the old file or the new one, also after a crash.

    `mode` are its rights; else only its owner may read it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def sha256_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class LocalResults:
    """A results store in a folder. Paths are relative, use `/`, and cannot leave the root."""

    is_shared = False
    """Whether other machines can read what is published here."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    @classmethod
    def from_uri(cls, uri: str) -> LocalResults:
        """A path or a `file://` URI. Raises `InputRefused` for any other scheme."""
        parsed = urlparse(uri)
        if parsed.scheme in ("", "file"):
            return cls(Path(unquote(parsed.path) if parsed.scheme else uri))
        raise InputRefused("POINTSMAN_RESULTS_URI", uri, "a folder, a file:// URI or s3://bucket/prefix")

    def __str__(self) -> str:
        return str(self.root)

    def path(self, relative: str) -> Path:
        """The local path of a stored file. Raises `InputRefused` when it would lie outside the root."""
        full = Path(os.path.normpath(self.root / relative))
        if not full.is_relative_to(self.root):
            raise InputRefused("results path", relative, "a path inside the results store")
        return full

    def write(self, relative: str, content: bytes) -> StoredFile:
        path = self.path(relative)
        write_atomically(path, content)
        return StoredFile(path.as_uri(), hashlib.sha256(content).hexdigest(), len(content))

    def write_json(self, relative: str, document: Any) -> StoredFile:
        """Write the canonical form of `document`: equal documents give equal bytes."""
        return self.write(relative, canonical_json(document) + b"\n")

    def read(self, relative: str) -> bytes:
        path = self.path(relative)
        if not path.is_file():
            raise NotFound("results path", relative, f"files under {self.root}")
        return path.read_bytes()

    def stored(self, relative: str) -> StoredFile:
        """Describe a file that is already there."""
        path = self.path(relative)
        if not path.is_file():
            raise NotFound("results path", relative, f"files under {self.root}")
        return StoredFile(path.as_uri(), sha256_file(path), path.stat().st_size)

    def digest(self, where: str) -> str:
        """Hex sha256 of what lies there now; `where` is a relative path or a URI that the store gave.

        Raises `NotFound`, and `InputRefused` for a URI of another store.
        """
        path = self.local(where) if "://" in where else self.path(where)
        if not path.is_file():
            raise NotFound("results path", where, f"files under {self.root}")
        return sha256_file(path)

    def exists(self, relative: str) -> bool:
        return self.path(relative).is_file()

    def take_in(self, path: Path, relative: str) -> StoredFile:
        """Bring a file of this machine to where others can read it: here it stays where it lies."""
        return StoredFile(path.absolute().as_uri(), sha256_file(path), path.stat().st_size)

    def local(self, uri: str) -> Path:
        """Where a file that the store gave this URI can be read on this machine."""
        return local_path(uri)

    def upload(self, relative: str) -> None:
        """Bring one file to where others can read it, now. Raises `DependencyDown` when that cannot be."""

    def publish(self, folder: str, *, patience_s: float = PATIENCE_S) -> Uploads:
        """Bring all files below the folder to where others can read them, which here they are."""
        return Uploads(0, 0)

    def pull(self, folder: str, *, patience_s: float = 0.0) -> int:
        """Bring files below the folder that others published here, where there is none of that name; how many."""
        return 0

    def drain(self) -> Uploads:
        """Bring what could not be brought before."""
        return Uploads(0, 0)

    def glob(self, pattern: str) -> Iterator[Path]:
        """Files whose relative path matches, in sorted order."""
        yield from sorted(path for path in self.root.glob(pattern) if path.is_file())


class ResultsSpec(BaseModel):
    """Configuration of a results store."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    uri: str = Field(title="Place", description="A folder or a file:// URI.", examples=["results"])

    def build(self) -> LocalResults:
        return LocalResults.from_uri(self.uri)


def local_path(uri: str) -> Path:
    """The path behind a `file://` URI or a plain path."""
    parsed = urlparse(uri)
    if parsed.scheme not in ("", "file"):
        raise InputRefused("uri", uri, "a local file")
    return Path(unquote(parsed.path) if parsed.scheme else uri)
