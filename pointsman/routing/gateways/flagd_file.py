"""A gateway that is one flagd flag definition file: whoever serves traffic reads it with any OpenFeature client."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pointsman.clock import Clock, SystemClock
from pointsman.errors import DependencyDown
from pointsman.ids import RouteKey, VariantId
from pointsman.model import Binding
from pointsman.routing.gateways.flagd_document import (
    binding_in,
    new_document,
    put_binding,
    read_document,
    write_document,
)
from pointsman.routing.gateways.protocol import ShowsNoBinding
from pointsman.storage import write_atomically

_RETRY_S = 0.05


class FlagdFileGateway:
    """Shows bindings in the flagd file `path`, made when it is not there; flags of other people stay as they are.

    A reader sees the old file or the new one. Writers, also of other processes, take turns over a lock file beside it
    and wait at most `patience_s` seconds for each other.
    """

    def __init__(self, path: Path, *, clock: Clock | None = None, patience_s: float = 10.0) -> None:
        self.path = path.absolute()
        self._clock = clock or SystemClock()
        self._patience_s = patience_s

    def read(self, key: RouteKey) -> Binding | None:
        """The binding that the file shows.

        Raises `DependencyDown` for a file that cannot be read, `ShowsNoBinding` for a flag of the route that is none.
        """
        try:
            return binding_in(self._document(), key)
        except ValueError as error:
            raise self._unusable(str(error), ShowsNoBinding) from error

    def publish(self, new: Binding, *, expected: int | None, at_once: bool = False) -> None:
        """Show `new`, as the protocol says. Raises `DependencyDown` when the file cannot be written."""
        with self._locked():
            document = self._document()
            try:
                shown = binding_in(document, new.route_key)
            except ValueError:
                shown = None
            if not put_binding(document, new, shown, expected, where=str(self.path)):
                return
            self._write(document)

    def unready(self, key: RouteKey, weights: Mapping[VariantId, int]) -> str:
        """A file names every variant; whether one serves is for those to see who read it."""
        return ""

    def _document(self) -> dict[str, Any]:
        try:
            text = self.path.read_bytes()
        except FileNotFoundError:
            return new_document()
        except OSError as error:
            raise self._unusable(f"cannot be read: {error.strerror}") from error
        try:
            return read_document(text)
        except ValueError as error:
            raise self._unusable(str(error)) from error

    def _write(self, document: dict[str, Any]) -> None:
        try:
            mode = self.path.stat().st_mode & 0o777 if self.path.exists() else 0o644
            write_atomically(self.path, write_document(document), mode=mode)  # a flagd of another user reads it too
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise self._unusable(f"cannot be written: {error.strerror}") from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        lock_path = self.path.with_name(f".{self.path.name}.lock")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = lock_path.open("w")
        except OSError as error:
            raise self._unusable(f"cannot be locked: {error.strerror}") from error
        with lock:
            give_up = self._clock.monotonic() + self._patience_s
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if self._clock.monotonic() >= give_up:
                        raise self._unusable(f"stayed locked by another writer for {self._patience_s:g} s") from None
                    self._clock.sleep(_RETRY_S)
            yield

    def _unusable(self, why: str, kind: type[DependencyDown] = DependencyDown) -> DependencyDown:
        return kind(
            f"The routing gateway file {self.path} {why}.",
            instruction="Repair the file or move it away, then repeat the command; `pointsman route history` has what "
            "it should show.",
            code="gateway_unusable" if kind is DependencyDown else None,
            path=str(self.path),
        )
