"""Which files a job may read: regular files inside the allowed roots, with the hash that the job names."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from lab.effects.problems import Refused


class InputGate:
    """Checks inputs. Hashes are remembered by the file's identity, size and time of change, so that a clip which a
    thousand jobs read is hashed once."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self._roots = [root.resolve(strict=True) for root in roots]
        self._hashes: dict[tuple[int, int, int, int], str] = {}

    def admit(self, uri: str, sha256: str) -> Path:
        """The resolved path of an input. Raises `Refused` (422) unless it lies in a root, is readable and matches."""
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
        raise ValueError("only file:// is understood")
    if "\0" in uri or not uri.startswith("/"):
        raise ValueError("an absolute path is needed")
    return Path(uri)


def _refused(code: str, detail: str) -> Refused:
    return Refused(
        422, code, detail, "Send an absolute path or file:// URI inside an --inputs-root of the lab, and its sha256."
    )
