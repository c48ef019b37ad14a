"""What bootstrapping changes on a Prefect server: all of it is known before anything is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from pointsman.errors import Conflict

Does = Literal["create", "update", "keep", "leave", "refuse"]
MARK = "Made by Pointsman's deployments/bootstrap.py, which puts back what is changed here."
"""Stands in the description of what is ours; whatever lacks it is somebody else's and is never written."""


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of one thing. `keep`: it is as it should be. `leave`: it differs, which is its owner's business."""

    kind: str
    name: str
    does: Does
    why: str = ""
    make: Callable[[], object] | None = None

    def __str__(self) -> str:
        return f"{self.does:<6} {self.kind} {self.name}{f': {self.why}' if self.why else ''}"


def refuse(changes: Sequence[Change]) -> None:
    """Raises `Conflict` that names what somebody else made, if there is any: then nothing is to be written."""
    refused = [f"{one.kind} {one.name} ({one.why})" for one in changes if one.does == "refuse"]
    if refused:
        raise Conflict(
            f"Nothing was changed, because of {'; '.join(refused)}.",
            instruction="Give ours other names with POINTSMAN_PREFECT_PREFIX=PREFIX-, or name a team's own pool: "
            "python -m deployments.bootstrap --pool ecs=POOL --dry-run",
            code="not_ours",
        )
