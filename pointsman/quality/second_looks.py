"""Second looks at a judge: the same outputs judged again, and pairs of outputs shown in both orders.

They are chosen by hash, so that nobody can prefer easy ones, and they never change a score: the trust card alone reads
them. Each is stored as it is made, so an interrupted round goes on where it stopped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from pointsman.ids import derive
from pointsman.model import Json, Missing
from pointsman.quality.calls import LedgerCalls, SpendCap
from pointsman.quality.evaluation import EvaluationSet, evaluation_set, judgements_folder
from pointsman.quality.pairs import Compared, Comparer, Pair
from pointsman.quality.protocol import Evaluation, Judge, JudgeAttempt, JudgeUnavailable
from pointsman.quality.recording import keep_transcript, note_attempts
from pointsman.quality.samples import load_samples
from pointsman.storage import insert_absent, tables
from pointsman.workspace import Workspace

_AGAIN = "~again"


def look_again(ws: Workspace, set_id: str, judge: Judge, count: int, *, cap: SpendCap | None = None) -> str | None:
    """Judge `count` outputs of a judged set again, and as many pairs in both orders; return why it did not get done.

    A judge that is not billed computes its scores: it is not asked twice, and None is returned.
    """
    if count == 0 or not judge.billed_skus:
        return None
    looks = _Looks(ws, evaluation_set(ws, set_id), judge, cap)
    try:
        looks.judge_again(count)
        if isinstance(judge, Comparer):
            looks.compare(judge, count)
    except JudgeUnavailable as error:
        for failed in error.failed:
            looks.note(failed.dispatch_id, failed.attempts, failed.transcript)
        return f"{error.code}: {error.message}"
    return None


class _Looks:
    def __init__(self, ws: Workspace, of: EvaluationSet, judge: Judge, cap: SpendCap | None) -> None:
        self._ws = ws
        self._set = of
        self._judge = judge
        self._calls = LedgerCalls(ws, of.id, judge=judge.identity.name, cap=cap)
        self._folder = judgements_folder(ws, of)

    def judge_again(self, count: int) -> None:
        evaluations = tables.quality_evaluations
        asked = sa.select(evaluations.c.dispatch_id, evaluations.c.quality, evaluations.c.scores).where(
            evaluations.c.evaluation_set_id == self._set.id, evaluations.c.quality.is_not(None)
        )
        with self._ws.database.connect() as connection:
            first = {row.dispatch_id: row.quality for row in connection.execute(asked) if "transcript" in row.scores}
        chosen = sorted(first, key=self._hash)[:count]
        wanted = [one for one in chosen if f"{one}{_AGAIN}" not in self._done()]
        of = self._set
        samples, _ = load_samples(self._ws, of.benchmark_id, of.id, wanted, reference=of.reference)
        again = [
            replace(sample, dispatch_id=f"{sample.dispatch_id}{_AGAIN}", blind_label=self._hash(sample.dispatch_id)[:8])
            for sample in samples
        ]
        with closing(self._judge.judge(again, self._calls)) as evaluated:
            for evaluation in evaluated:
                self._keep_again(evaluation, first)

    def compare(self, judge: Comparer, count: int) -> None:
        done = self._done()
        pairs = [pair for pair in self._pairs(count) if pair.subject not in done]
        with closing(judge.compare(pairs, self._calls)) as compared:
            for one in compared:
                self._keep_compared(one)

    def note(
        self, subject: str, attempts: Sequence[JudgeAttempt], transcript: Mapping[str, Json] | None
    ) -> dict[str, Json]:
        kept = keep_transcript(self._ws, self._folder, _file_name(subject), transcript)
        with self._ws.database.begin() as connection:
            note_attempts(connection, self._set.id, subject, self._judge.identity.name, attempts, kept)
        return kept

    def _keep_again(self, evaluation: Evaluation, first: Mapping[str, Any]) -> None:
        kept = self.note(evaluation.dispatch_id, evaluation.attempts, evaluation.transcript)
        if isinstance(evaluation.quality, Missing):
            return
        before = first[evaluation.dispatch_id.removesuffix(_AGAIN)]
        result: dict[str, Json] = {"first": format(before, "f"), "again": format(evaluation.quality, "f"), **kept}
        self._insert("again", evaluation.dispatch_id, result)

    def _keep_compared(self, compared: Compared) -> None:
        kept = self.note(compared.subject, compared.attempts, compared.transcript)
        preference = compared.preference
        result: dict[str, Json] = {
            "points": format(preference.points, "f"),
            "flipped": preference.flipped,
            "criteria": dict(preference.criteria),
            **kept,
        }
        self._insert("order", compared.subject, result)

    def _insert(self, kind: str, subject: str, result: dict[str, Json]) -> None:
        row = {
            "id": derive("second-look", self._set.id, subject),
            "evaluation_set_id": self._set.id,
            "kind": kind,
            "subject": subject,
            "result": result,
            "created_at": self._ws.clock.now(),
        }
        with self._ws.database.begin() as connection:
            insert_absent(connection, tables.second_looks, [row])

    def _done(self) -> set[str]:
        table = tables.second_looks
        wanted = sa.select(table.c.subject).where(table.c.evaluation_set_id == self._set.id)
        with self._ws.database.connect() as connection:
            return set(connection.execute(wanted).scalars())

    def _pairs(self, count: int) -> Iterator[Pair]:
        """Pairs of outputs of one input, as many inputs as there are before an input comes twice."""
        items, evaluations = tables.benchmark_matrix_run_items, tables.quality_evaluations
        wanted = (
            sa.select(items.c.dispatch_id, items.c.input_id, evaluations.c.scores)
            .join(evaluations, evaluations.c.dispatch_id == items.c.dispatch_id)
            .where(evaluations.c.evaluation_set_id == self._set.id, items.c.repeat == 0)
        )
        by_input: dict[str, list[str]] = {}
        with self._ws.database.connect() as connection:
            for row in connection.execute(wanted):
                if "transcript" in row.scores:
                    by_input.setdefault(row.input_id, []).append(row.dispatch_id)
        of_input = [sorted(ids, key=self._hash) for ids in by_input.values() if len(ids) > 1]
        of_input.sort(key=lambda ids: self._hash(ids[0]))
        chosen: list[tuple[str, str]] = []
        for distance in range(1, max(map(len, of_input), default=1)):
            chosen += [(ids[0], ids[distance]) for ids in of_input if len(ids) > distance]
        chosen = chosen[:count]
        needed = sorted({one for pair in chosen for one in pair})
        samples, _ = load_samples(self._ws, self._set.benchmark_id, self._set.id, needed)
        found = {sample.dispatch_id: sample for sample in samples}
        for one, other in chosen:
            if one in found and other in found:
                subject = f"{one}~{other}"
                yield Pair(subject, found[one].output, found[other].output, found[one].source, self._hash(subject)[:8])

    def _hash(self, subject: str) -> str:
        return hashlib.sha256(f"second look\x1f{self._set.id}\x1f{subject}".encode()).hexdigest()


def _file_name(subject: str) -> str:
    """Subjects of pairs are longer than a file's name may be."""
    return subject if len(subject) <= 180 else f"pair-{derive('pair', subject)}"
