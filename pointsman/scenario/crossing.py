"""A shard's drive on a machine whose disk nobody else sees: what crosses to the others, and in which order.

The results store holds what a successor must know: the plan, then every era, claim and segment of the journal. A claim
is there before the first of its dispatches is sent, and only whoever has the shard's place may use it. So a task whose
disk is gone leaves no dispatch that its successor would send as if it were the first to; one that lives on unseen can
use up what it had claimed, and no more. What the coordinator and the operator see goes through the shard's rows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pointsman.dispatch import DriveStatus, confirm_claims, find_inputs_here, read_live, read_status
from pointsman.errors import DependencyDown, PointsmanError
from pointsman.scenario.record import RunRecord, drive_paths
from pointsman.scenario.words import hear, last_told, require_place, tell
from pointsman.workspace import Workspace

_CLAIMS_EVERY_S = 0.2
_WORDS_EVERY_S = 0.5
_BEHIND_SENDING = ("eras", "journal")


class Crossing:
    """One process's turn at a shard; `ws.results` is shared."""

    def __init__(self, ws: Workspace, record: RunRecord, shard: int, turn: int) -> None:
        self._ws = ws
        self._record = record
        self._shard = shard
        self._turn = turn
        self._folder = drive_paths(record)[shard]
        self._drive_dir = ws.results.path(self._folder)
        self._brought: set[Path] = set()
        self._last_second = -1
        self._claims_at = self._words_at = 0.0

    def take_over(self) -> None:
        """Bring the drive here as the shard's last process left it, whose place is taken. Raises `DependencyDown`."""
        here = set(self._files("eras", "claims", "journal"))
        self._ws.results.pull(self._folder)
        self._brought = set(self._files("eras", "claims", "journal")) - here
        find_inputs_here(self._drive_dir, self._ws.results.local)
        hear(self._ws, self._record, self._shard)
        self._last_second = last_told(self._ws, self._record.id, self._shard)

    def look(self) -> None:
        """Carry over what is new; several times a second. Raises `Conflict` (`shard_replaced`) and `DependencyDown`."""
        now_s = self._ws.clock.monotonic()
        if now_s >= self._claims_at:
            self._claims_at = now_s + _CLAIMS_EVERY_S
            self._bring_claims()
        if now_s >= self._words_at:
            self._words_at = now_s + _WORDS_EVERY_S
            self._bring_words()

    def finish(self) -> None:
        """Carry over all that is left, the files of a closed drive as well, and the last word when they are there."""
        uploads = self._ws.results.publish(self._folder)
        if uploads.left:
            raise DependencyDown(
                f"{uploads.left} files of shard {self._shard} could not be brought to {self._ws.results}.",
                instruction=f"Look whether it answers (pointsman doctor), then continue the run: pointsman scenario "
                f"status {self._record.id}",
                code="results_unreachable",
            )
        self._bring_words(status=read_status(self._drive_dir))

    def leave(self) -> None:
        """Carry over what can be, for whoever continues the drive; raises nothing of its own."""
        with contextlib.suppress(PointsmanError):
            self._bring_words()

    def _bring_claims(self) -> None:
        claims = [path for path in self._files("claims") if path not in self._brought]
        if claims:
            self._bring([path for path in self._files("eras") if path not in self._brought])
            self._bring(claims)
            # Asked when they are there: whoever has taken the place meanwhile may not have seen them.
            require_place(self._ws, self._record.id, self._shard, self._turn)
            confirm_claims(self._drive_dir, int(claims[-1].stem))

    def _bring_words(self, *, status: DriveStatus | None = None) -> None:
        words = read_live(self._drive_dir, after=self._last_second)
        if status is not None:
            words = replace(words, status=status.model_dump_json())
        # First the segments that these words have counted.
        self._bring([path for path in self._files(*_BEHIND_SENDING) if path not in self._brought])
        tell(self._ws, self._record.id, self._shard, self._turn, words)
        if words.seconds:
            self._last_second = words.seconds[-1][0]

    def _bring(self, paths: Sequence[Path]) -> None:
        for path in paths:
            self._ws.results.upload(f"{self._folder}/{path.relative_to(self._drive_dir).as_posix()}")
            self._brought.add(path)

    def _files(self, *kinds: str) -> list[Path]:
        """In the order in which they were written, kind by kind."""
        return [path for kind in kinds for path in sorted((self._drive_dir / kind).glob("[0-9]*"))]
