"""Fetching outputs as soon as their jobs complete, a few at a time, and checking them against the target's word."""

from __future__ import annotations

import asyncio
from pathlib import Path

from pointsman.dispatch.board import Board, Job
from pointsman.dispatch.durable import sync_folder
from pointsman.dispatch.edges import Disk
from pointsman.dispatch.gate import Gate
from pointsman.dispatch.protocol import Update
from pointsman.dispatch.transport import Fetched, NoAnswer, Transport

AT_ONCE = 4
_TRIES = 3
_PAUSE_S = 0.25
_LONGEST_NAME = 200
"""Of a file. Only ids of routed dispatches with very long route keys are longer; they end in a UUID."""


class Fetcher:
    """A completed dispatch ends only when its output is on the disk, or cannot be had."""

    def __init__(self, folder: Path, board: Board, gate: Gate, transport: Transport, disk: Disk) -> None:
        self._folder = folder
        self._board = board
        self._gate = gate
        self._transport = transport
        self._disk = disk
        self._queue: asyncio.Queue[tuple[Job, Update]] = asyncio.Queue()

    def take(self, job: Job, update: Update) -> None:
        self._queue.put_nowait((job, update))

    async def run(self) -> None:
        """Fetch for ever, one at a time; several of these run side by side."""
        while True:
            job, update = await self._queue.get()
            await self._fetch(job, update)

    async def _fetch(self, job: Job, update: Update) -> None:
        name = job.dispatch_id[-_LONGEST_NAME:]
        temporary = self._folder / f".{name}.part"
        tries = 0
        while True:
            got = await self._transport.fetch(update.output_path or "", temporary)
            if isinstance(got, Fetched):
                self._gate.reached()
                break
            if isinstance(got, NoAnswer):
                self._gate.not_answered()
                reason = got.reason
                # While nobody is there the drive's patience decides, not the number of tries.
                tries += 1 if got.left else 0
            else:
                self._gate.reached()
                reason = f"http_{got.status}"
                tries += 1
            if tries == _TRIES:
                temporary.unlink(missing_ok=True)
                self._end(job, update, f"output_unavailable: {reason}")
                return
            await asyncio.sleep(_PAUSE_S * 2**tries)
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

    def _end(self, job: Job, update: Update, reason: str) -> None:
        job.fetching = False
        self._board.ended(job, "failed", update=update, reason=reason)
