"""A results store in S3 with a folder of its own: written there first, uploaded at once, and later when S3 is out.

A file is written once, or again by the machine that wrote it. Others read it from S3, checked against the hash that it
was uploaded with, and keep a copy.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from pointsman.clock import Clock
from pointsman.errors import DependencyDown, NotFound
from pointsman.storage.bucket import Bucket, BucketPlace, StoredFile, connect, scan_options
from pointsman.storage.results import PATIENCE_S, LocalResults, Uploads, local_path
from pointsman.storage.spool import Spool

if TYPE_CHECKING:
    import polars as pl

_OUT_S = 30.0
"""After a failed upload the next ones go to the spool at once, so that nothing waits for S3 file by file."""
_LOOK_AGAIN_S = 5.0
_OWN_TO_A_PROCESS = frozenset(
    {"lock", "coordinator.lock", "live.lock", "status.json", "confirmed", "start.json", "cancel"}
)


@dataclass(frozen=True, slots=True)
class Spooled:
    """Uploads that wait: how many files, and the trouble."""

    files: int
    why: DependencyDown


class SharedResults(LocalResults):
    """`on_spooled` is told when uploads begin to wait, once for each time that S3 goes away."""

    is_shared = True

    def __init__(
        self,
        root: Path,
        bucket: Bucket,
        clock: Clock,
        *,
        on_spooled: Callable[[Spooled], None] = lambda spooled: None,
    ) -> None:
        super().__init__(root)
        self._bucket = bucket
        self._clock = clock
        self._spool = Spool(self.root)
        self._on_spooled = on_spooled
        self._out_until: float | None = None
        self._uploaded: dict[str, tuple[int, int]] = {}
        """What this process knows to be in S3: time of change and size of the file when it was uploaded."""

    def __str__(self) -> str:
        return str(self._bucket.place)

    def write(self, relative: str, content: bytes) -> StoredFile:
        """Returns when the file is on disk, and in S3 or noted to be uploaded later."""
        self.path(relative)
        with self._spool.lock(relative):
            self._spool.note(relative)
            written = super().write(relative, content)
        if not self._is_out:
            self._upload([relative])
        return StoredFile(self._bucket.place.uri(relative), written.sha256, written.bytes)

    def take_in(self, path: Path, relative: str) -> StoredFile:
        """A copy as `write` makes one, of a file that need not fit into memory."""
        copy = self.path(relative)
        copy.parent.mkdir(parents=True, exist_ok=True)
        with self._spool.lock(relative):
            self._spool.note(relative)
            handle, temporary = tempfile.mkstemp(dir=copy.parent, prefix=f".{copy.name}.")
            try:
                with os.fdopen(handle, "wb") as into, path.open("rb") as source:
                    shutil.copyfileobj(source, into, 2**20)
                    into.flush()
                    os.fsync(into.fileno())
                os.replace(temporary, copy)
            finally:
                Path(temporary).unlink(missing_ok=True)
        if not self._is_out:
            self._upload([relative])
        return self.stored(relative)

    def read(self, relative: str) -> bytes:
        return self._here(relative).read_bytes()

    def stored(self, relative: str) -> StoredFile:
        if self.path(relative).is_file():
            described = super().stored(relative)
            return StoredFile(self._bucket.place.uri(relative), described.sha256, described.bytes)
        found = self._bucket.look(relative)
        if found is None:
            raise NotFound("results path", relative, f"files under {self}")
        return found

    def digest(self, where: str) -> str:
        """Of what S3 holds, whatever the copy here is; of the copy while it waits to be uploaded."""
        start = f"{self._bucket.place}/"
        relative = where.removeprefix(start)
        if "://" in relative or self._spool.notes(relative):
            return super().digest(relative)
        digest = self._bucket.digest(relative)
        if digest is None:
            raise NotFound("results path", relative, f"files under {self}")
        return digest

    def exists(self, relative: str) -> bool:
        return super().exists(relative) or self._bucket.has(relative)

    def local(self, uri: str) -> Path:
        start = f"{self._bucket.place}/"
        return self._here(uri.removeprefix(start)) if uri.startswith(start) else local_path(uri)

    def upload(self, relative: str) -> None:
        self._deliver(relative)

    def publish(self, folder: str, *, patience_s: float = PATIENCE_S) -> Uploads:
        """Upload every file below the folder that S3 does not have as it is; it waits as long for an S3 that is out."""
        for path in sorted(self.path(folder).rglob("*")):
            relative = path.relative_to(self.root).as_posix()
            if not path.is_file() or path.name in _OWN_TO_A_PROCESS or "/." in f"/{relative}":
                continue
            if self._uploaded.get(relative) != _as_it_is(path):
                self._spool.note(relative)
        give_up = self._clock.monotonic() + patience_s
        uploads = self._upload(self._spool.waiting(folder))
        while uploads.left and self._clock.monotonic() < give_up:
            self._clock.sleep(min(_LOOK_AGAIN_S, give_up - self._clock.monotonic()))
            again = self._upload(self._spool.waiting(folder))
            uploads = Uploads(uploads.uploaded + again.uploaded, again.left)
        return uploads

    def pull(self, folder: str, *, patience_s: float = 0.0) -> int:
        """Raises `DependencyDown` when S3 is still out after so long; what keeps it from being read is told at once."""
        give_up, pulled = self._clock.monotonic() + patience_s, 0
        while True:
            try:
                for relative in self._bucket.names(folder):
                    if not self.path(relative).is_file():
                        self._here(relative)
                        pulled += 1
                return pulled
            except DependencyDown as error:
                if error.code != "results_unreachable" or self._clock.monotonic() >= give_up:
                    raise
            self._clock.sleep(_LOOK_AGAIN_S)

    def drain(self) -> Uploads:
        """Upload what waits. Raises `DependencyDown` when S3 is still out; everything then waits as before."""
        waiting = self._spool.waiting()
        for number, relative in enumerate(waiting):
            try:
                self._deliver(relative)
            except DependencyDown as error:
                left = len(waiting) - number
                said = f"{error.message} {left} of {len(waiting)} files still wait in {self.root}."
                raise DependencyDown(said, instruction=error.instruction, code=error.code, left=left) from None
        return Uploads(len(waiting), 0)

    def waiting(self) -> int:
        return len(self._spool.waiting())

    def reach(self) -> None:
        """Raise `DependencyDown` when S3 does not answer."""
        self._bucket.reach()

    def scan_parquet(self, pattern: str) -> pl.LazyFrame:
        """Rows of Parquet files, read from S3 as far as they are needed."""
        import polars as pl

        return pl.scan_parquet(self._bucket.place.uri(pattern), storage_options=scan_options())

    @property
    def _is_out(self) -> bool:
        return self._out_until is not None and self._clock.monotonic() < self._out_until

    def _here(self, relative: str) -> Path:
        path = self.path(relative)
        if not path.is_file():
            self._bucket.fetch(relative, path)
            self._uploaded[relative] = _as_it_is(path)
        return path

    def _upload(self, files: list[str]) -> Uploads:
        """One after the other until S3 does not answer."""
        for number, relative in enumerate(files):
            try:
                self._deliver(relative)
            except DependencyDown as error:
                if self._out_until is None:
                    self._on_spooled(Spooled(self.waiting(), error))
                self._out_until = self._clock.monotonic() + _OUT_S
                return Uploads(number, len(files) - number)
            self._out_until = None
        return Uploads(len(files), 0)

    def _deliver(self, relative: str) -> None:
        with self._spool.lock(relative):
            notes = self._spool.notes(relative)
            path = self.path(relative)
            if path.is_file():
                before = _as_it_is(path)
                self._bucket.put(path, relative)
                self._uploaded[relative] = before
            self._spool.clear(notes)


def open_results(
    uri: str, *, working: Path, clock: Clock, on_spooled: Callable[[Spooled], None] = lambda spooled: None
) -> LocalResults:
    """The store of a folder, a `file://` URI, or `s3://bucket/prefix`, which keeps a folder of its own in `working`.

    Asks nothing of S3 yet. Raises `InputRefused` for any other URI.
    """
    if not uri.startswith("s3:"):
        return LocalResults.from_uri(uri)
    place = BucketPlace.parse(uri)
    root = working / quote(f"{place.name}/{place.prefix}", safe="")
    return SharedResults(root, Bucket(place, connect(), clock), clock, on_spooled=on_spooled)


def _as_it_is(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_size
