"""The local evaluator: how close an output is to its source, by VMAF and SSIM, and whether it plays at all.

Quality is VMAF (0 to 100, the model's mean over the compared frames). An output that cannot be decoded, or is longer
or shorter than its source, is a bad output and scores 0; it is not a number that nobody knows.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Generator, Iterable
from decimal import Decimal
from pathlib import Path

from pointsman.canonical import sha256_of
from pointsman.clock import Clock, SystemClock
from pointsman.model import Json, Missing, Number
from pointsman.quality.ffmpeg import Finished, ffmpeg_version, media_input, run_ffmpeg
from pointsman.quality.media import Clip, Fault, declared_rate, decoded, fault_of, look_at
from pointsman.quality.protocol import Calls, Evaluation, JudgeAttempt, JudgeIdentity, Sample
from pointsman.quality.workers import judge_concurrently

VMAF_MODEL = "vmaf_v0.6.1"
VMAF_EVERY = 5
"""Of clips with `_LONG` frames or more VMAF looks at every fifth frame; SSIM always looks at all. A third of the CPU
time, and 0.3 below the full mean for every encoder alike, within 0.2 of each other. Five shares no factor with the two,
four or eight frames after which encoders repeat their cheap ones, so it favours none of them."""
_LONG = 50
_PICTURE = "scale={width}:{height}:flags=bicubic:out_range=tv,format=yuv420p,settb=1/1000,setpts=N"
_GRAPH = (
    "[0:v:0]{time}{picture}[output];[1:v:0]{time}{picture},split[first][second];"
    "[output][first]ssim=shortest={cut}[same];"
    "[same][second]libvmaf=model=version={model}:n_threads=1:n_subsample={every}:shortest={cut}"
)
_RULES: dict[str, Json] = {
    "alignment": "by frame number when both have as many frames, else by time at the source's rate",
    "duration": "frames / declared rate; may differ by 0.1 s or 2 %, whichever is more",
    "quality": "VMAF; 0 when undecodable or of another duration",
}
_VMAF = re.compile(r"VMAF score: ([\d.]+)")
_SSIM = re.compile(r"SSIM .*All:([\d.]+)")


class LocalJudge:
    """VMAF and SSIM against the source, `workers` outputs at a time, each by one single-threaded ffmpeg."""

    billed_skus: tuple[str, ...] = ()

    def __init__(self, *, clock: Clock | None = None, workers: int = 2, deadline_s: float = 600.0) -> None:
        self._clock = clock or SystemClock()
        self._workers = workers
        self._deadline_s = deadline_s
        self._sources: dict[Path, Clip | Fault | None] = {}
        rules = {"graph": _GRAPH, "picture": _PICTURE, "every": VMAF_EVERY, "long": _LONG, **_RULES}
        self.identity = JudgeIdentity("local", f"ffmpeg {ffmpeg_version()} {VMAF_MODEL}", sha256_of(rules))

    def judge(self, samples: Iterable[Sample], calls: Calls | None = None) -> Generator[Evaluation, None, None]:
        """As `Judge.judge`; calls nobody and never raises `JudgeUnavailable`."""
        return judge_concurrently(samples, self._judge, workers=self._workers)

    def _judge(self, sample: Sample, stop: threading.Event) -> Evaluation:
        started = self._clock.now()
        quality, scores = self._compare(sample, stop)
        completed = not isinstance(quality, Missing)
        attempt = JudgeAttempt(
            number=1,
            outcome="completed" if completed else "failed",
            started=started,
            ended=self._clock.now(),
            code=None if completed else "not_comparable",
        )
        return Evaluation(sample.dispatch_id, quality, scores, (attempt,))

    def _compare(self, sample: Sample, stop: threading.Event) -> tuple[Number, dict[str, Json]]:
        if sample.source is None:
            return Missing("the output has no source to compare it with"), {}
        source = self._source(sample.source, stop)
        if not isinstance(source, Clip):
            return Missing("the source of the output cannot be decoded"), {}
        seen = self._pass(sample.output, sample.source, source, stop)
        if seen.exit_code is None:
            return Missing(f"ffmpeg was stopped; its limit is {self._deadline_s:.0f} s for one output"), {}
        if (fault := fault_of(seen, 0)) is not None:
            return Decimal(0), {"decodable": False, "reason": fault.reason}
        scores: dict[str, Json] = {"decodable": True}
        got, want = decoded(seen.log, 0).frames, source.frames
        rate = source.rate or 1.0
        difference = got / (declared_rate(seen.log, 0) or rate) - want / rate
        scores |= {"frames": got, "source_frames": want, "duration_difference_s": round(difference, 4)}
        if abs(difference) > max(0.1, 0.02 * want / rate):
            direction = "longer" if difference > 0 else "shorter"
            scores["reason"] = f"wrong duration: {abs(difference):.3f} s {direction} than its source"
            return Decimal(0), scores
        if got != want:
            seen = self._pass(sample.output, sample.source, source, stop, by_time=f"fps={rate},")
        vmaf, ssim = _VMAF.search(seen.log), _SSIM.search(seen.log)
        if seen.exit_code != 0 or vmaf is None or ssim is None:
            return Missing("ffmpeg could not compare the output with its source"), scores
        scores |= {"vmaf": float(vmaf[1]), "ssim": float(ssim[1])}
        return min(Decimal(vmaf[1]), Decimal(100)), scores

    def _source(self, path: Path, stop: threading.Event) -> Clip | Fault | None:
        # Two threads may look at one source at the same time; both find the same.
        if path not in self._sources:
            self._sources[path] = look_at(path, deadline_s=self._deadline_s, stop=stop)
        return self._sources[path]

    def _pass(self, output: Path, source: Path, clip: Clip, stop: threading.Event, *, by_time: str = "") -> Finished:
        # Frame by frame nothing is cut off, so that all frames of a longer output get counted.
        picture = _PICTURE.format(width=clip.width, height=clip.height)
        every = VMAF_EVERY if clip.frames >= _LONG else 1
        cut = int(bool(by_time))
        graph = _GRAPH.format(time=by_time, picture=picture, model=VMAF_MODEL, every=every, cut=cut)
        return run_ffmpeg(
            [
                *("-filter_complex_threads", "1", *media_input(output), *media_input(source)),
                *("-filter_complex", graph, "-an", "-fps_mode", "passthrough", "-f", "null", "-"),
            ],
            deadline_s=self._deadline_s,
            stop=stop,
        )
