"""Drives of a matrix in the results store: the outputs for those who read them, the journal for whoever takes over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pointsman.benchmark.chunks import Turn
from pointsman.dispatch import DriveStatus, TargetSpec, doubt_the_rest, read_summary
from pointsman.errors import DependencyDown
from pointsman.workspace import Workspace

_EVERY_S = 5.0
_LEAVING_S = 5.0
"""How long a task that is stopped waits for a store that does not answer."""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A task that has a turn of a chunk; `at_once` of them share what a provider may be given."""

    turn: Turn
    at_once: int


def doubt_what_is_lost(ws: Workspace, drive_dir: Path, target: TargetSpec) -> None:
    """Send nothing again to a target that would do it twice: an earlier turn may have sent more than it shared."""
    if not target.build().capabilities.idempotent_submit and read_summary(drive_dir) is None:
        doubt_the_rest(drive_dir, clock=ws.clock)


@contextmanager
def sharing(
    ws: Workspace, drive_dir: Path, on_status: Callable[[DriveStatus], None], elsewhere: Elsewhere | None
) -> Iterator[Callable[[DriveStatus], None]]:
    """Publish the drive when it ends; and while it goes on, at what is given to be called, when it runs `elsewhere`.

    Raises `DependencyDown` when outputs of a task elsewhere cannot be brought out: its disk goes with it. On any other
    machine they wait.
    """
    folder = folder_of(ws, drive_dir)
    if elsewhere is None:
        yield on_status
        ws.results.publish(folder)
        return
    next_s = ws.clock.monotonic() + _EVERY_S

    def told(status: DriveStatus) -> None:
        nonlocal next_s
        on_status(status)
        if ws.clock.monotonic() >= next_s:
            ws.results.publish(folder, patience_s=0.0)
            next_s = ws.clock.monotonic() + _EVERY_S

    try:
        yield told
    except BaseException:
        ws.results.publish(folder, patience_s=_LEAVING_S)
        raise
    left = ws.results.publish(folder).left
    if left:
        raise DependencyDown(
            f"{ws.results} did not take {left} files of {folder}, which only this task has.",
            instruction="Wait until S3 answers, then run the command that created the matrix again.",
            code="results_unreachable",
        )


def folder_of(ws: Workspace, drive_dir: Path) -> str:
    """Where it lies in the results store."""
    return drive_dir.relative_to(ws.results.root).as_posix()
