"""What the quality tests work on: clips, the rows of a collected matrix, and judges that answer from a script."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import threading
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import sqlalchemy as sa

from pointsman.clock import ManualClock
from pointsman.ids import benchmark_id, derive, dispatch_id
from pointsman.model import Missing
from pointsman.quality import (
    Evaluation,
    FailedJudgement,
    JudgeAttempt,
    JudgeIdentity,
    JudgeUnavailable,
    JudgeUsage,
    Sample,
    load_rubric,
)
from pointsman.quality.batches import LedgerBatches
from pointsman.quality.ffmpeg import ffmpeg_path
from pointsman.quality.gemini import GeminiJudge
from pointsman.quality.protocol import Calls
from pointsman.quality.retry import RetryPolicy
from pointsman.settings import Secret
from pointsman.storage import tables
from pointsman.workspace import Workspace
from tests.quality.gemini_stand_in import API_KEY

LEVELS = {"fidelity": 4, "artefacts": 5, "temporal_consistency": 3}
VARIANT = "er:card-1:wf:{}:env:lab:stage:demo:provider:acme-cloud:exp:base"


@dataclass(frozen=True)
class Clips:
    """Two seconds of 192x108 at 30 frames per second, and what became of it."""

    folder: Path

    def __getattr__(self, name: str) -> Path:
        found = sorted(self.folder.glob(f"{name}.*"))
        if not found:
            raise AttributeError(name)
        return found[0]


def make_clips(folder: Path) -> Clips:
    def encode(name: str, *arguments: str) -> None:
        subprocess.run([ffmpeg_path(), "-v", "error", "-y", *arguments, str(folder / name)], check=True)

    source, x264 = str(folder / "source.mp4"), ("-c:v", "libx264", "-preset", "veryfast", "-threads", "1")
    moving = ("-f", "lavfi", "-i", "testsrc2=s=192x108:r=30:d=2", "-pix_fmt", "yuv420p")
    encode("source.mp4", *moving, *x264, "-crf", "8")
    encode("good.mp4", "-i", source, *x264, "-crf", "20", "-movflags", "faststart")
    encode("poor.mp4", "-i", source, *x264, "-crf", "45")
    encode("webm.webm", "-i", source, "-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-crf", "30")
    encode("half.mp4", "-i", source, "-vf", "scale=96:54", *x264, "-crf", "20")
    encode("fifty.mp4", "-i", source, "-frames:v", "50", *x264, "-crf", "20")
    encode("one_less.mp4", "-i", source, "-frames:v", "59", *x264, "-crf", "20")
    encode("double.mp4", "-stream_loop", "1", "-i", source, *x264, "-crf", "20")
    encode("slower.mp4", "-i", source, "-vf", "fps=24", "-frames:v", "48", *x264, "-crf", "20")
    encode("full_range.mp4", "-i", source, "-vf", "scale=out_range=pc", "-color_range", "pc", *x264, "-crf", "20")
    encode("sound.m4a", "-f", "lavfi", "-i", "sine=d=1")
    encode("picture.png", "-i", source, "-frames:v", "1")
    encode("picture_again.jpg", "-i", source, "-frames:v", "1", "-q:v", "2")
    good = (folder / "good.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(good[: len(good) // 2])
    (folder / "garbage.mp4").write_bytes(b"this is no clip" * 50)
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "playlist.mp4").write_text(f"#EXTM3U\n#EXTINF:2,\n{source}\n#EXT-X-ENDLIST\n")
    return Clips(folder)


class Matrix:
    """A collected matrix: cells of two workflows on `inputs` inputs, whose outputs lie in the results store."""

    def __init__(self, ws: Workspace, clips: Clips, *, inputs: int = 2) -> None:
        self.ws = ws
        self.clips = clips
        self.id = benchmark_id("quality-tests")
        self.path = f"lab/benchmarks/{self.id}"
        self.sources = [self._source(number) for number in range(inputs)]
        now = ws.clock.now()
        members = [
            {
                "input_id": f"input-{number}",
                "uri": source.as_uri(),
                "sha256": _sha256(source),
                "bytes": source.stat().st_size,
                "cluster": f"cluster-{number}",
            }
            for number, source in enumerate(self.sources)
        ]
        run = {
            "id": self.id,
            "parent_run_id": "run-1",
            "status": "collected",
            "input_set_id": "golden",
            "environment_id": "lab",
            "seed": 1,
            "plan": {},
            "plan_sha256": "0" * 64,
            "results_path": self.path,
            "created_at": now,
        }
        with ws.database.begin() as connection:
            golden = {"id": "golden", "sha256": "0" * 64, "members": members, "created_at": now}
            connection.execute(sa.insert(tables.input_sets).values(golden))
            connection.execute(sa.insert(tables.benchmark_matrix_runs).values(run))
        self.cells: list[str] = []
        for workflow, clip in (("fast-lane", clips.good), ("slow-lane", clips.poor)):
            for number in range(inputs):
                self.add_cell(workflow, f"input-{number}", clip)

    def _source(self, number: int) -> Path:
        path = self.ws.results.path(f"inputs/{number}.mp4")
        path.parent.mkdir(parents=True, exist_ok=True)
        # A box of its own at the end, which players skip: inputs are told apart by their content.
        path.write_bytes(self.clips.source.read_bytes() + (12).to_bytes(4, "big") + b"free" + number.to_bytes(4, "big"))
        return path

    def add_cell(self, workflow: str, input_id: str, clip: Path | None, status: str = "completed") -> str:
        seq = len(self.cells)
        cell = dispatch_id(self.id, seq)
        self.cells.append(cell)
        item = {
            "dispatch_id": cell,
            "benchmark_id": self.id,
            "seq": seq,
            "round": 0,
            "variant_id": VARIANT.format(workflow),
            "input_id": input_id,
            "cluster": input_id,
            "repeat": 0,
            "status": status,
        }
        with self.ws.database.begin() as connection:
            connection.execute(sa.insert(tables.benchmark_matrix_run_items).values(item))
            if clip is not None:
                connection.execute(sa.insert(tables.run_artifacts).values(self._stored(cell, clip)))
        return cell

    def _stored(self, cell: str, clip: Path) -> dict[str, Any]:
        output = self.output(cell)
        output.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, output)
        return {
            "id": derive("artifact", cell),
            "run_id": self.id,
            "subject_id": cell,
            "artifact_type": "benchmark_variant_dispatches",
            "uri": output.as_uri(),
            "sha256": _sha256(output),
            "bytes": output.stat().st_size,
            "created_at": self.ws.clock.now(),
        }

    def output(self, cell: str) -> Path:
        return self.ws.results.path(f"{self.path}/outputs/{cell}")

    def rows(self, table: sa.Table) -> list[Any]:
        with self.ws.database.connect() as connection:
            return list(connection.execute(sa.select(table)).all())


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


SCRIPTED = JudgeIdentity("scripted", "model-1", "a" * 64)


@dataclass
class ScriptedJudge:
    """Gives every sample the quality that `answer` says, one at a time; what it raises ends the judging.

    With `billed` each sample costs 100 tokens.
    """

    answer: Callable[[Sample], Decimal | Missing] = lambda sample: Decimal(80)
    identity: JudgeIdentity = SCRIPTED
    billed: bool = False
    seen: list[str] = field(default_factory=list)

    @property
    def billed_skus(self) -> tuple[str, ...]:
        return ("scripted:token",) if self.billed else ()

    def judge(self, samples: Iterable[Sample], calls: Calls) -> Generator[Evaluation, None, None]:
        for sample in samples:
            number = calls.begin(sample.dispatch_id, self.billed_skus) if self.billed else 1
            self.seen.append(sample.dispatch_id)
            try:
                quality = self.answer(sample)
            except JudgeUnavailable as error:
                failed = FailedJudgement(
                    sample.dispatch_id, (self._attempt(calls, sample, number, "failed"),), {"prompt": "?"}
                )
                raise JudgeUnavailable(error.message, code=error.code, failed=[failed]) from error
            attempts = (self._attempt(calls, sample, number, "completed"),)
            yield Evaluation(sample.dispatch_id, quality, {}, attempts, {"prompt": sample.blind_label})

    def _attempt(self, calls: Calls, sample: Sample, number: int, outcome: Any) -> JudgeAttempt:
        now = ManualClock().now()
        usage = tuple(JudgeUsage(sku, Decimal(100)) for sku in self.billed_skus)
        code = None if outcome == "completed" else "server_error"
        attempt = JudgeAttempt(number, outcome, now, now, usage, code)
        if self.billed:
            calls.end(sample.dispatch_id, attempt)
        return attempt


class Counted:
    """Calls that are on record nowhere but here."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: list[JudgeAttempt] = []
        self._batches = Mock(LedgerBatches, **{"all.return_value": []})
        self._lock = threading.Lock()

    @property
    def batches(self) -> LedgerBatches:
        return self._batches

    def room(self, skus: tuple[str, ...]) -> int | None:
        return None

    def begin(self, subject: str, skus: tuple[str, ...]) -> int:
        with self._lock:
            self.begun.append(subject)
            return self.begun.count(subject)

    def end(self, subject: str, attempt: JudgeAttempt) -> None:
        with self._lock:
            self.ended.append(attempt)


def gemini_judge(url: str, *, clock: ManualClock | None = None, key: str = API_KEY, **options: Any) -> GeminiJudge:
    return GeminiJudge(
        api_key=Secret(key),
        model="gemini-2.5-flash",
        rubric=options.pop("rubric", load_rubric("video-effect")),
        base_url=url,
        clock=clock or ManualClock(),
        policy=options.pop("policy", RetryPolicy()),
        workers=options.pop("workers", 1),
        **options,
    )


def never() -> threading.Event:
    """A stop signal that is not given."""
    return threading.Event()
