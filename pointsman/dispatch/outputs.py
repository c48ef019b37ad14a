"""Fetching outputs as soon as their jobs complete, a few at a time, and checking them against the target's word."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import math
from datetime import datetime
from pathlib import Path
from typing import Protocol

from pointsman.dispatch.board import Board, Job
from pointsman.dispatch.downloads import NotAllowed
from pointsman.dispatch.durable import sync_folder, write_durably
from pointsman.dispatch.edges import Disk
from pointsman.dispatch.gate import Gate
from pointsman.dispatch.protocol import Capabilities, Response, Update
from pointsman.dispatch.results import ResultAsker
from pointsman.dispatch.transport import TOO_SLOW, Fetched, NoAnswer, Transport

AT_ONCE = 4
_TRIES = 3
_PAUSE_S = 0.25
_LONGEST_NAME = 200
"""Of a file. Only ids of routed dispatches with very long route keys are longer; they end in a UUID."""


class Elsewhere(Protocol):
    """Fetches from other places than the target."""

    async def fetch(self, url: str, into: Path) -> Fetched | Response | NoAnswer:
        """Like `Transport.fetch`. Raises `NotAllowed`."""
        ...


class Fetcher:
    """A completed dispatch ends only when its output is on the disk, or cannot be had.

    Those whose time is up soonest come first; without a limit, in the order in which they completed.
    """

    def __init__(
        self,
        folder: Path,
        board: Board,
        gate: Gate,
        transport: Transport,
        downloads: Elsewhere,
        results: ResultAsker,
        disk: Disk,
        capabilities: Capabilities,
        *,
        keeps: bool,
    ) -> None:
        self._folder = folder
        self._board = board
        self._gate = gate
        self._transport = transport
        self._downloads = downloads
        self._results = results
        self._disk = disk
        self._lifetime_s = capabilities.output_lifetime_s
        self._keeps = keeps
        self._numbers = itertools.count()
        self._queue: asyncio.PriorityQueue[tuple[float, int, Job, Update]] = asyncio.PriorityQueue()

    def take(self, job: Job, update: Update) -> bool:
        """Whether there is anything to fetch for a job that is said to be completed."""
        if not update.wants_result and not (self._keeps and update.has_output):
            return False
        self._queue.put_nowait((self._until(update.ended_at), next(self._numbers), job, update))
        return True

    def _until(self, ended_at: datetime | None) -> float:
        """Until when the output can be had, Unix time."""
        if self._lifetime_s is None:
            return math.inf
        ended_s = ended_at.timestamp() if ended_at is not None else self._board.wall_s()
        return ended_s + self._lifetime_s

    async def run(self) -> None:
        """Fetch for ever, one at a time; several of these run side by side."""
        while True:
            _, _, job, update = await self._queue.get()
            if update.wants_result:
                update = await self._results.ask(job, update)
            if update.state != "completed":
                job.fetching = False
                self._board.ended(job, "failed", update=update)
            elif self._keeps and update.has_output:
                await self._fetch(job, update)
            else:
                job.fetching = False
                self._board.ended(job, "completed", update=update)

    async def _fetch(self, job: Job, update: Update) -> None:
        name = job.dispatch_id[-_LONGEST_NAME:]
        temporary = self._folder / f".{name}.part"
        got = await self._get(update, temporary)
        if isinstance(got, str):
            temporary.unlink(missing_ok=True)
            self._end(job, update, got)
            return
        if update.output_sha256 not in (None, got.sha256) or update.output_bytes not in (None, got.bytes):
            temporary.unlink(missing_ok=True)
            self._end(job, update, "output_mismatch")
            return
        path = self._folder / name

        def keep() -> None:
            temporary.replace(path)
            sync_folder(self._folder)

        await self._disk.run(keep)
        job.fetching = False
        self._board.ended(job, "completed", update=update, output=(path.as_uri(), got.sha256, got.bytes))

    async def _get(self, update: Update, into: Path) -> Fetched | str:
        """The output in the file `into`, or why it cannot be had."""
        inline = update.output_inline
        if inline is not None:
            await self._disk.run(lambda: write_durably(into, inline))
            return Fetched(hashlib.sha256(inline).hexdigest(), len(inline))
        tries = 0
        while True:
            if update.output_url is None:
                got = await self._transport.fetch(update.output_path or "", into)
                # Where outputs are fetched from elsewhere that says nothing about the target.
                if isinstance(got, NoAnswer):
                    self._gate.not_answered()
                else:
                    self._gate.reached()
            else:
                try:
                    got = await self._downloads.fetch(update.output_url, into)
                except NotAllowed as refusal:
                    return f"output_not_allowed: {refusal}"
            if isinstance(got, Fetched):
                return got
            reason = got.reason if isinstance(got, NoAnswer) else f"http_{got.status}"
            # While nobody is there the drive's patience decides, not the number of tries.
            tries += 1 if not isinstance(got, NoAnswer) or got.left else 0
            if tries == _TRIES or got == TOO_SLOW:
                return f"output_unavailable: {reason}"
            await asyncio.sleep(_PAUSE_S * 2**tries)

    def _end(self, job: Job, update: Update, reason: str) -> None:
        job.fetching = False
        self._board.ended(job, "failed", update=update, reason=reason)
