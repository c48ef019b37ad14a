"""The same command continues: what is interrupted is remembered by what was asked, until it ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from pointsman.canonical import sha256_of
from pointsman.errors import DependencyDown, PointsmanError
from pointsman.storage import write_atomically


@contextmanager
def run_to_continue(home: Path, command: str, asked: Mapping[str, Any], given: str | None = None) -> Iterator[str]:
    """The `given` id, else that of the run in which the same `command`, asked the same, was interrupted, else a new.

    It is forgotten when the block ends or fails, and kept when the process is stopped, a dependency goes away, or the
    run waits to be approved.
    """
    if given is not None:
        yield given
        return
    path = home / "unfinished" / f"{command}-{sha256_of(dict(asked))[:16]}"
    run_id = path.read_text() if path.is_file() else f"{command}-{uuid4()}"
    write_atomically(path, run_id.encode())
    try:
        yield run_id
    except PointsmanError as error:
        if not isinstance(error, DependencyDown) and error.code != "awaiting_approval":
            path.unlink()
        raise
    path.unlink()
