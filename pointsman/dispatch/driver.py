"""The dispatch driver: one asyncio island that carries a drive from its plan to the last answer.

Phases: settle what earlier eras left in doubt, send, drain, and give every dispatch its final state. It ends in one
of four ways: `completed`; `cancelled` (jobs in flight are ended at the target); `interrupted` (whoever started it is
gone) and `target_lost`, after which the same drive continues later.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Literal

from pointsman.dispatch.board import Board
from pointsman.dispatch.claiming import MOST_CLAIMED, Claimer
from pointsman.dispatch.claims import Era, write_era
from pointsman.dispatch.durable import replace_file
from pointsman.dispatch.edges import Disk, Ticks
from pointsman.dispatch.gate import Gate
from pointsman.dispatch.hearing import Hearing
from pointsman.dispatch.history import History, read_history
from pointsman.dispatch.journal import segment_path, write_segment
from pointsman.dispatch.orders import Start
from pointsman.dispatch.outputs import AT_ONCE, Elsewhere, Fetcher
from pointsman.dispatch.pace import lower_of, share_of
from pointsman.dispatch.plan import cancelling_s, drain_s, read_header
from pointsman.dispatch.planned import Planned
from pointsman.dispatch.polling import UNDECLARED_PER_S, Poller
from pointsman.dispatch.protocol import DispatchTarget
from pointsman.dispatch.reading import STATUS
from pointsman.dispatch.recording import Recorder, live_status
from pointsman.dispatch.results import ResultAsker
from pointsman.dispatch.sending import ClosedLoop, OpenLoop
from pointsman.dispatch.status import Phase
from pointsman.dispatch.submission import Submitter
from pointsman.dispatch.transport import Transport

Ending = Literal["completed", "cancelled", "interrupted", "target_lost"]
_LEAD_NS = 100_000_000
"""From the start of sending to the first dispatch: time for the first claim."""
_JOIN_NS = 1_000_000_000
"""A shard that joins late sends at once what should have left since so long, and drops what is older."""
_FLUSH_EVERY_S = 0.5
_WATCH_EVERY_S = 0.1
_STEP_S = 0.02
_LAST_ANSWERS_NS = 1_000_000_000
_FIRST_CLAIM = 500
_ROWS_AT_ONCE = 10_000
"""What is left of a large plan is written off in pieces."""


class Driver:
    """One era of one drive. `stop("cancelled")` and `stop("interrupted")` end it early, from the event loop."""

    def __init__(
        self,
        drive_dir: Path,
        *,
        target: DispatchTarget,
        transport: Transport,
        downloads: Elsewhere,
        disk: Disk,
        ticks: Ticks,
        start: Start | None = None,
        confirmed: Callable[[], int] | None = None,
    ) -> None:
        self._start = start
        self._drive_dir = drive_dir
        header = read_header(drive_dir)
        self._limits = limits = header.limits
        self._drain_s = drain_s(limits, target.capabilities)
        self._target = target
        self._disk = disk
        self._history = history = read_history(drive_dir)
        self._planned = Planned(header, drive_dir, target)
        wall, mono = ticks.wall_ns(), ticks.monotonic_ns()
        open_loop = self._planned.due_ns is not None
        first_epoch = start.epoch_wall_ns if start is not None else wall + (_LEAD_NS if open_loop else 0)
        self._epoch_wall_ns = history.eras[0].epoch_wall_ns if history.eras else first_epoch
        # A wall clock that was set back between eras must not make the journal run backwards.
        zero_ns = mono - max(wall - self._epoch_wall_ns, history.last_ns if history.eras else -(10**18))
        monotonic_ns = ticks.monotonic_ns

        def now_ns() -> int:
            return monotonic_ns() - zero_ns

        self.now_ns: Callable[[], int] = now_ns
        """Nanoseconds after the drive's epoch."""
        self._era = Era(len(history.eras), self._epoch_wall_ns, self.now_ns())
        self.board = Board(self._planned.seqs, self.now_ns, epoch_wall_ns=self._epoch_wall_ns)
        capabilities = target.capabilities
        polls_per_s = share_of(capabilities.polls_per_s, limits.rate_share)
        self._gate = Gate(
            self.now_ns,
            submits_per_s=lower_of(share_of(capabilities.submits_per_s, limits.rate_share), limits.submits_per_s),
            polls_per_s=polls_per_s,
        )
        (drive_dir / "outputs").mkdir(exist_ok=True)
        self._fetcher = Fetcher(
            drive_dir / "outputs",
            self.board,
            self._gate,
            transport,
            downloads,
            ResultAsker(target, self._gate, transport),
            disk,
            capabilities,
            keeps=limits.fetch_outputs,
        )
        self._hearing = Hearing(
            self.board,
            target,
            fetch=self._fetcher.take,
            resend=lambda job: self._submitter.resend(job),
        )
        self._submitter = Submitter(
            self._planned,
            self.board,
            self._gate,
            self._hearing,
            transport,
            spawn=self._spawn,
            failed=self._failed,
            turned_away_limit_s=limits.drain_limit_s,
        )
        self._poller = Poller(
            target,
            self._planned,
            self.board,
            self._gate,
            self._hearing,
            transport,
            interval_s=limits.poll_interval_s,
            most_per_s=polls_per_s if polls_per_s is not None else UNDECLARED_PER_S * limits.rate_share,
        )
        self._claimer = Claimer(
            drive_dir,
            self._era.number,
            self._planned,
            self.board,
            disk,
            claimed=history.next_index,
            first_size=min(limits.max_in_flight, _FIRST_CLAIM),
            confirmed=confirmed,
        )
        self.phase: Phase = "reconciling"
        self._recorder = Recorder(drive_dir, self._planned.seqs, self._planned.stages, started_ns=self._era.started_ns)
        self._segments = 0
        self._flushing = asyncio.Lock()
        self._unwritten: OSError | None = None
        """Rows that are lost; whoever wrote them may have been cancelled before the disk said so."""
        self._tasks: set[asyncio.Task[Any]] = set()
        self._background: list[asyncio.Task[Any]] = []
        self._halt: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._since_ns = self.now_ns()

    def stop(self, why: Literal["cancelled", "interrupted"]) -> None:
        self._end_early(why)

    def _end_early(self, why: str) -> None:
        if not self._halt.done():
            self._halt.set_result(why)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._spawned_ended)
        return task

    def _spawned_ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(error)

    def _failed(self, error: BaseException) -> None:
        if not self._halt.done():
            self._halt.set_exception(error)

    async def run(self) -> Ending:
        """Carry the drive on to its end, or to where it must stop. The journal is complete on return."""
        for name in ("journal", "claims", "eras"):
            (self._drive_dir / name).mkdir(exist_ok=True)
        await self._disk.run(lambda: write_era(self._drive_dir, self._era))
        self._restore(self._history)
        await self._flush()
        workers: list[Callable[[], Coroutine[Any, Any, None]]] = [self._watch, self._keep_flushing]
        if self._target.capabilities.batch_status:
            workers.append(self._poller.run)
        if self._limits.fetch_outputs or self._target.capabilities.has_result:
            workers.extend([self._fetcher.run] * AT_ONCE)
        self._background = [asyncio.create_task(worker()) for worker in workers]
        for task in self._background:
            task.add_done_callback(self._spawned_ended)
        try:
            ending = await self._finish(await self._phases())
        finally:
            await _cancel([*self._background, *self._tasks])
        await self._flush(last=ending in ("completed", "cancelled"))
        # A flush that was cut short by its cancellation goes on at the disk: wait until it is through as well.
        await self._disk.run(_nothing)
        if self._unwritten is not None:
            raise self._unwritten
        if self._halt.done():
            self._halt.result()
        return ending

    async def _phases(self) -> str:
        """Reconcile, send, drain. Returns why it ended: `drained`, `drain_limit`, or what `_halt` says."""
        limits = self._limits
        self._since_ns = self.now_ns()
        deadline = self.now_ns() + round(limits.drain_limit_s * 1e9)
        while any(job.doubt is not None for job in self.board.live.values()) and self.now_ns() < deadline:
            if await self._halted_within(_STEP_S):
                return self._halt.result()
        if self._halt.done():
            return self._halt.result()
        self.phase = "sending"
        self._since_ns = self.now_ns()
        sending = asyncio.create_task(self._send())
        either: list[asyncio.Future[Any]] = [sending, self._halt]
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():
                return self._halt.result()
        finally:
            await _cancel([sending])
        sending.result()
        self.phase = "draining"
        deadline = self.now_ns() + round(self._drain_s * 1e9)
        while self.board.live or self._submitter.held or self._tasks:
            if await self._halted_within(_STEP_S):
                return self._halt.result()
            if self.now_ns() > deadline:
                return "drain_limit"
        return "drained"

    async def _halted_within(self, seconds: float) -> bool:
        await asyncio.wait([self._halt], timeout=seconds)
        return self._halt.done()

    async def _send(self) -> None:
        if self._planned.due_ns is None:
            closed = ClosedLoop(self._planned, self.board, self._claimer, self._submitter, self._limits)
            await closed.run(self._history.unsent)
            return
        loop = OpenLoop(self._planned, self.board, self._claimer, self._submitter, self._limits, self._spawn)
        earlier = self._history.claims
        if earlier:
            self._planned.shift_ns = earlier[-1].shift_ns
            await loop.resume(self._history.unsent)
        first = self._claimer.claimed
        if self._start is not None:
            await self._join(self._start, self._planned.due_ns)
        elif first < len(self._planned) and self._history.eras:
            # The schedule goes on from here, as if the gap had not been; the gap is reported beside it.
            late = self.now_ns() + _LEAD_NS - self._planned.due_ns[first]
            self._planned.shift_ns = max(self._planned.shift_ns, late)
        await loop.run()

    async def _join(self, start: Start, due_ns: Sequence[int]) -> None:
        """Go on where the run's schedule is by now: other shards have not waited for this one."""
        shift_ns = self._planned.shift_ns = max(self._planned.shift_ns, start.shift_ns)
        claimed = self._claimer.claimed
        first = bisect_left(due_ns, self.now_ns() - _JOIN_NS - shift_ns, lo=claimed)
        for index in range(claimed, first):
            if not self.board.touched[index]:
                self.board.never_sent(index, "dropped", "shard_lost")
        if first > claimed:
            # On the disk before the next claim: who comes after a crash looks at nothing that lies before a claim.
            await self._flush()
        self._claimer.claimed = first

    def _restore(self, history: History) -> None:
        for state, number in history.ended.items():
            self.board.counts[state] += number
            if state not in ("dropped", "cancelled_unsent"):
                self.board.counts["sent"] += number
        self.board.touch(history.ended_indexes)
        self._planned.load_texts([left.index for left in history.unsettled] + history.unsent)
        for left in history.unsettled:
            job = self._planned.job(left.index)
            job.planned_ns = left.planned_ns
            if left.sent:
                job.acked, job.job_id, job.sent_ns, job.ack_ns = left.acked, left.job_id, left.sent_ns, left.ack_ns
                self.board.restored(job, left.state)
            else:
                self.board.departed(job, None)
                job.sending = False
            self._hearing.in_doubt(job, "interrupted")

    async def _watch(self) -> None:
        """Notice a target that is lost, and a closed loop that learns nothing any more."""
        while True:
            await asyncio.sleep(_WATCH_EVERY_S)
            if self._gate.silent_s() >= self._limits.target_patience_s:
                self._end_early("target_lost")
            since_ns = max(self.board.news_ns, self._since_ns, self._gate.quiet_until_ns)
            quiet_s = (self.now_ns() - since_ns) / 1e9
            if self._planned.due_ns is None and self.phase == "sending" and quiet_s > self._drain_s:
                self._end_early("stalled")

    async def _finish(self, why: str) -> Ending:
        """Bring every dispatch to a state: a final one, unless the drive is to continue later."""
        if why == "drained":
            return "completed"
        if why in ("interrupted", "target_lost"):
            self._submitter.deaf = True
            await _cancel(self._tasks)
            self.phase = "interrupted"
            for index in self.board.unsent():
                # A claim that was just being written counts as well.
                if index < self._claimer.claimed + MOST_CLAIMED:
                    self.board.released(index)
            return "interrupted" if why == "interrupted" else "target_lost"
        self.phase = "draining"
        self._gate.close()
        if why == "cancelled":
            give_up_ns = self.now_ns() + _LAST_ANSWERS_NS
            while (self._tasks or self._submitter.unanswered) and self.now_ns() < give_up_ns:
                await asyncio.sleep(_STEP_S)
        self._submitter.deaf = True
        await _cancel(self._tasks)
        cancelled = why == "cancelled"
        if not cancelled:
            self._hearing.giving_up = why
        for job in self.board.live.values():
            job.sending = False
        limit_s = cancelling_s(self._limits, self._target.capabilities, len(self.board.live))
        try:
            async with asyncio.timeout(limit_s):
                await self._poller.end_all()
        except TimeoutError:
            pass  # what was not learnt by now is not learnt
        await _cancel([*self._background, *self._tasks])
        reason = f"{why}: {self._hearing.trouble}" if self._hearing.trouble else why
        held = dict(self._submitter.held)
        self._submitter.held.clear()
        for job in held.values():
            if not cancelled and job.refusal is not None and job.submissions == 0:
                self.board.departed(job, job.sent_ns)
                self.board.ended(job, "failed", reason=job.refusal)
        for job in list(self.board.live.values()):
            if cancelled:
                self.board.ended(job, "cancelled_sent", reason="not confirmed by the target")
            else:
                self.board.ended(job, "unknown", reason=job.doubt or reason)
        for number, index in enumerate(self.board.unsent(), 1):
            if cancelled:
                self.board.never_sent(index, "cancelled_unsent", why)
            else:
                self.board.never_sent(index, "dropped", reason if index in held else why)
            if number % _ROWS_AT_ONCE == 0:
                await self._flush()
        return "cancelled" if cancelled else "completed"

    async def _keep_flushing(self) -> None:
        while True:
            await asyncio.sleep(_FLUSH_EVERY_S)
            await self._flush()

    async def _flush(self, *, last: bool = False) -> None:
        """Write the rows since the last flush, count them into the seconds, and tell how the drive stands."""
        async with self._flushing:
            board = self.board
            rows, now_ns = board.take_rows(), self.now_ns()
            terms, phase, segment = board.terms(), self.phase, self._segments
            self._segments += 1 if len(rows) else 0

            def write() -> None:
                try:
                    if len(rows):
                        path = segment_path(self._drive_dir, self._era.number, segment)
                        frame = rows.frame(now_ns)
                        write_segment(path, frame)
                        self._recorder.take(path.stem, frame)
                    self._recorder.write(now_ns, queued=terms["queued"], last=last)
                    status = live_status(self._recorder, phase, terms, era=self._era, now_ns=now_ns)
                    replace_file(self._drive_dir / STATUS, status.model_dump_json().encode())
                except OSError as error:
                    self._unwritten = error
                    raise

            await self._disk.run(write)


def _nothing() -> None:
    return None


async def _cancel(tasks: Any) -> None:
    pending = list(tasks)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
