"""Running chunks elsewhere, a few at a time: starting them, noticing those that vanish, and hearing why one gave up."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pointsman.actions import ActionLog
from pointsman.benchmark.chunks import Turn, begin_turn, note_task, open_turn, told_by
from pointsman.errors import Cancelled, DependencyDown, PointsmanError
from pointsman.workspace import Workspace

if TYPE_CHECKING:
    from pointsman.scenario import RunLauncher

TURNS = 3
"""Runs of a chunk that may vanish before it is given up."""
_EVERY_S = 1.0
_LEAVE_WITHIN_S = 60.0
"""How long chunks of a benchmark that was cancelled may take to end their jobs and to store what was learnt."""


class ElsewhereUnusable(DependencyDown):
    """No task can be started, or none comes of what is started. `left` are the chunks that are still to be done."""

    left: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Chunk:
    """`request` is what its flow is asked, but for the turn. `give_up` is told how the last of its runs ended."""

    id: str
    flow: str
    request: Mapping[str, Any]
    done: Callable[[], bool]
    give_up: Callable[[str], None]


class Spreading:
    """`on_done` is called when a chunk is done; what it raises starts no further ones."""

    def __init__(
        self,
        ws: Workspace,
        benchmark_id: str,
        runs: RunLauncher,
        *,
        at_once: int,
        stopped: Callable[[], bool] = lambda: False,
        on_done: Callable[[], None] = lambda: None,
    ) -> None:
        self._ws = ws
        self._benchmark_id = benchmark_id
        self._runs = runs
        self._at_once = at_once
        self._stopped = stopped
        self._on_done = on_done
        self._waiting: deque[Chunk] = deque()
        self._going: list[_Going] = []
        self._failure: PointsmanError | None = None
        self._leave_by: float | None = None

    def run(self, chunks: Sequence[Chunk]) -> None:
        """Return when all chunks are done or given up. One that is done is not started; one that still runs, started by
        somebody who has died, is watched.

        After the first trouble no chunk is started, those that run come to their end, and then it is raised: what a
        chunk or `on_done` or `give_up` says, `Cancelled` when `stopped` answers true, or `ElsewhereUnusable`. An
        exception that interrupts this asks the running chunks to end at once.
        """
        self._waiting = deque(chunks)
        try:
            while self._going or (self._waiting and self._failure is None):
                self._start()
                if self._going:
                    self._ws.clock.sleep(_EVERY_S)
                self._look()
        except BaseException:
            self._cancel()
            raise
        if isinstance(self._failure, ElsewhereUnusable):
            self._failure.left = tuple(chunk.id for chunk in chunks if not chunk.done())
        if self._failure is not None:
            raise self._failure

    def _start(self) -> None:
        while self._waiting and self._failure is None and len(self._going) < self._at_once:
            chunk = self._waiting[0]
            if chunk.done():  # what was done meanwhile may have left it nothing
                self._waiting.popleft()
                continue
            turn = open_turn(self._ws, chunk.id) or begin_turn(self._ws, self._benchmark_id, chunk.id)
            one = _Going(chunk, turn)
            try:
                self._launch(one)
            except DependencyDown as error:
                if not self._going:
                    self._failure = ElsewhereUnusable(error.message, instruction=error.instruction, code=error.code)
                return  # what runs goes on, and by its end the next may start again
            self._going.append(one)
            self._waiting.popleft()

    def _launch(self, one: _Going) -> None:
        request = {**one.chunk.request, "turn": one.turn.number}
        one.run = self._runs.launch(one.chunk.flow, request, key=f"{one.chunk.id}-{one.turn.number}")
        self._note(one, one.run)

    def _note(self, one: _Going, task_id: str) -> None:
        if one.task_id != task_id:
            one.task_id = task_id
            note_task(self._ws, one.turn, task_id)

    def _look(self) -> None:
        if self._failure is None and self._stopped():
            self._failed(
                Cancelled(
                    f"Benchmark {self._benchmark_id} was cancelled.",
                    instruction="Run the command that created it again: it continues where this one stopped.",
                )
            )
            self._leave_by = self._ws.clock.monotonic() + _LEAVE_WITHIN_S
        for one in list(self._going):
            try:
                if not self._goes_on(one):
                    self._going.remove(one)
            except PointsmanError as error:
                self._going.remove(one)
                self._failed(error)
        if self._leave_by is not None and self._ws.clock.monotonic() >= self._leave_by:
            self._cancel()
            self._going.clear()

    def _goes_on(self, one: _Going) -> bool:
        """Raises what the chunk says, and what `on_done` and `give_up` raise."""
        how = self._ended(one)
        if one.chunk.done():  # read after its end, before which it writes
            self._on_done()
            return False
        if how is None:
            return True
        told = told_by(self._ws, one.turn)
        if told is not None:
            raise told
        if self._failure is not None:
            return False
        one.vanished += 1
        ActionLog(self._ws).record(
            "benchmark_chunk_lost",
            run_id=self._benchmark_id,
            context=self._benchmark_id,
            chunk=one.chunk.id,
            turn=one.turn.number,
            task=one.task_id,
            how=how,
        )
        if one.vanished == TURNS:
            begin_turn(self._ws, self._benchmark_id, one.chunk.id)  # should it live after all, it writes nothing
            self._give_up(one.chunk, how)
            return False
        one.turn = begin_turn(self._ws, self._benchmark_id, one.chunk.id)
        one.run = one.task_id = None
        return True

    def _give_up(self, chunk: Chunk, how: str) -> None:
        """Of a chunk whose tasks do not even start nothing is lost: raises what names the trouble."""
        from pointsman.scenario import trouble_of  # takes a second to import, which few need

        trouble = trouble_of(how)
        if trouble is None:
            chunk.give_up(how)
            return
        raise ElsewhereUnusable(
            f"The tasks that were to do the chunk {chunk.id} did not start: {how}.",
            instruction=trouble.instruction,
            code=trouble.code,
        )

    def _ended(self, one: _Going) -> str | None:
        """How its run ended; None while it goes on, or nobody knows. One that could not be started is started."""
        try:
            if one.run is None:
                self._launch(one)
            assert one.run is not None
            how = self._runs.ended(one.run)
        except DependencyDown:
            return None
        if (task := self._runs.task(one.run)) is not None:
            self._note(one, task)
        return how

    def _failed(self, error: PointsmanError) -> None:
        self._failure = self._failure or error

    def _cancel(self) -> None:
        for one in self._going:
            if one.run is not None:
                with contextlib.suppress(DependencyDown):
                    self._runs.cancel(one.run)


@dataclass(slots=True)
class _Going:
    chunk: Chunk
    turn: Turn
    run: str | None = None
    task_id: str | None = None
    """The run, until it is known which task it is."""
    vanished: int = 0
