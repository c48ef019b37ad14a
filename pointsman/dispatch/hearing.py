"""What to make of the target's answers, and of their absence: the one place that decides how a dispatch ends."""

from __future__ import annotations

from collections.abc import Callable

from pointsman.dispatch.board import Board, Job
from pointsman.dispatch.protocol import DispatchTarget, Rejection, Request, Response, Update
from pointsman.errors import RunFailed

MOST_SUBMISSIONS = 3
_ABSENCES_BELIEVED = 3
"""A status service may lag behind the submit service."""


class Hearing:
    def __init__(
        self,
        board: Board,
        target: DispatchTarget,
        *,
        fetch: Callable[[Job, Update], bool],
        resend: Callable[[Job], None],
    ) -> None:
        self._board = board
        self._target = target
        self._capabilities = target.capabilities
        self._answer_is_final = target.capabilities.batch_status == 0 and not target.capabilities.answer_is_job
        self._fetch = fetch
        self._resend = resend
        self.giving_up: str | None = None
        """Set when jobs are ended at the target because the time for them is up: that is not an outcome."""
        self.trouble: str | None = None
        """The last answer that could not be used, for dispatches that end without an outcome."""

    def answered(self, job: Job, request: Request, answer: Response) -> None:
        """The answer to a submission, other than a server error and a request to wait."""
        job.sending = False
        if answer.status < 300 and self._answer_is_final and not job.acked:
            self._board.completed_at_once(job)
            return
        try:
            updates = self._target.parse(request, answer)
        except RunFailed:
            updates = ()
        for update in updates:
            if update.dispatch_id == job.dispatch_id:
                self.hear(job, update)
                return
        self.in_doubt(job, "garbage_answer")

    def rejection(self, answer: Response) -> Rejection:
        """What an answer other than success says."""
        return self._target.rejection(answer)

    def rejected(self, job: Job, reason: str) -> None:
        """A submission was answered by an error that is final."""
        self.hear(job, Update(job.dispatch_id, "refused", reason=reason))

    def polled(self, request: Request, answer: Response) -> None:
        """The answer to a status or cancel request: whatever it does not tell is asked again."""
        try:
            updates = self._target.parse(request, answer)
        except RunFailed:
            self.trouble = self.rejection(answer).reason if answer.status >= 300 else "garbage_answer"
            return
        for update in updates:
            job = self._board.live.get(update.dispatch_id)
            if job is not None and not job.sending and not job.fetching:
                self.hear(job, update)

    def hear(self, job: Job, update: Update) -> None:
        """One dispatch's update."""
        match update.state:
            case "submitted" | "queued" | "leased":
                self._board.heard(job, update)
            case "completed":
                if self._fetch(job, update):
                    job.fetching = True
                    job.doubt = None
                else:
                    self._board.ended(job, "completed", update=update)
            case "failed" | "refused":
                self._board.ended(job, "failed", update=update)
            case "cancelled" if self.giving_up is not None:
                self._board.ended(job, "unknown", update=update, reason=self.giving_up)
            case "cancelled":
                self._board.ended(job, "cancelled_sent", update=update)
            case "absent":
                self._absent(job)

    def in_doubt(self, job: Job, reason: str) -> None:
        """A submission got no usable answer: whether there is a job is asked, or cannot be known."""
        job.sending = False
        job.doubt = reason
        if not self.can_ask(job):
            self._settle_doubt(job, reason)

    def can_ask(self, job: Job) -> bool:
        if self._capabilities.batch_status == 0:
            return False
        return self._capabilities.status_by_dispatch_id or job.job_id is not None

    def _absent(self, job: Job) -> None:
        if job.doubt is not None:
            self._settle_doubt(job, job.doubt)
            return
        job.absences += 1
        if job.absences >= _ABSENCES_BELIEVED:
            self._settle_doubt(job, "forgotten_by_target")

    def _settle_doubt(self, job: Job, reason: str) -> None:
        if reason.startswith("http_"):
            # The target answered that it failed, and there is no job: sending again would hide that.
            self._board.ended(job, "failed", reason=reason)
        elif self._capabilities.idempotent_submit and job.submissions < MOST_SUBMISSIONS:
            job.doubt = None
            job.absences = 0
            job.sending = True
            self._resend(job)
        else:
            self._board.ended(job, "unknown", reason=reason)
