"""The local evaluator: how close an output is to its source, whether it plays at all, and what can be seen of it.

Quality is from 0 to 100: of clips VMAF (the model's mean over the compared frames), of single pictures 100 x SSIM, as
VMAF's model looks for motion. An output that cannot be decoded, is longer or shorter than its source or lost its sound
is a bad output and scores 0; it is not a number that nobody knows. What cannot be compared has no quality and says why:
an output without a source, HDR, a picture made into a clip. Checks without a source are noted and never make a quality,
not even 0, as such a number would let a verdict come about that nothing supports.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Generator, Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path

from pointsman.canonical import sha256_of
from pointsman.clock import Clock, SystemClock
from pointsman.model import Json, Missing, Number
from pointsman.quality import graphs, looking
from pointsman.quality.comparison import Comparison, read_comparison
from pointsman.quality.ffmpeg import Finished, ffmpeg_version, media_input, run_ffmpeg
from pointsman.quality.looking import Looked, Sound, Source, read_source
from pointsman.quality.media import Clip, Fault, clip_of, is_animated_webp, is_picture, look_at
from pointsman.quality.protocol import NO_REFERENCE, Calls, Evaluation, JudgeAttempt, JudgeIdentity, Sample
from pointsman.quality.signals import findings, read_signals
from pointsman.quality.workers import judge_concurrently

_QUALITY = "VMAF, of single pictures 100 SSIM; 0 when undecodable, of another duration or without its sound"
_ALONE: dict[str, Json] = {"basis": NO_REFERENCE}
_Judged = tuple[Number, dict[str, Json]]


class LocalJudge:
    """VMAF, SSIM and PSNR against the source, `workers` outputs at a time (None: as many as this machine has cores).

    Each is looked at by one ffmpeg whose decoders and filters have one thread each.
    `sound="free"` lets outputs be silent, or last otherwise than their picture, without being broken.
    """

    billed_skus: tuple[str, ...] = ()

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        workers: int | None = None,
        deadline_s: float = 600.0,
        sound: Sound = "as_source",
    ) -> None:
        self._clock = clock or SystemClock()
        self._workers = workers or os.cpu_count() or 1
        self._deadline_s = deadline_s
        self._sound = sound
        self._sources: dict[Path, Source | None] = {}
        absent: list[Json] = [*sorted(set(graphs.absent()))]
        rules: dict[str, Json] = {"graphs": graphs.rules(), "broken": looking.RULES, "quality": _QUALITY}
        rules |= {"sound": sound, "absent": absent}
        model = "without libvmaf" if "vmaf" in absent else graphs.VMAF_MODEL
        self.identity = JudgeIdentity("local", f"ffmpeg {ffmpeg_version()} {model}", sha256_of(rules))

    def judge(self, samples: Iterable[Sample], calls: Calls | None = None) -> Generator[Evaluation, None, None]:
        """As `Judge.judge`; calls nobody and never raises `JudgeUnavailable`."""
        return judge_concurrently(samples, self._judge, workers=self._workers)

    def _judge(self, sample: Sample, stop: threading.Event) -> Evaluation:
        started = self._clock.now()
        quality, scores = self._evaluate(sample, stop)
        completed = not isinstance(quality, Missing)
        attempt = JudgeAttempt(
            number=1,
            outcome="completed" if completed else "failed",
            started=started,
            ended=self._clock.now(),
            code=None if completed else "not_comparable",
        )
        return Evaluation(sample.dispatch_id, quality, scores, (attempt,))

    def _evaluate(self, sample: Sample, stop: threading.Event) -> _Judged:
        output = sample.output
        for name, path in (("output", output), ("source", sample.source)):
            if path is not None and is_animated_webp(path):
                return Missing(f"the {name} is an animated WebP, which ffmpeg cannot decode"), {}
        if sample.source is None:
            return self._alone(output, "the output has no source to compare it with", stop, has_source=False)
        source = self._source(sample.source, stop)
        if source is None:
            return Missing("the source of the output cannot be decoded"), {}
        if source.transfer is not None:
            return self._alone(output, f"the source is HDR ({source.transfer}), which is not compared", stop)
        if source.picture is not is_picture(output):
            kinds = ("picture", "clip") if source.picture else ("clip", "picture")
            return self._alone(output, "the source is a {} and the output a {}".format(*kinds), stop)
        return self._beside(output, source, stop)

    def _alone(self, output: Path, why: str, stop: threading.Event, *, has_source: bool = True) -> _Judged:
        """What can be said of an output that is not compared. Beside a source it has to play at least."""
        clip = look_at(output, deadline_s=self._deadline_s, stop=stop)
        if clip is None:
            return Missing(f"{why}; {self._stopped}"), {}
        if isinstance(clip, Fault):
            scores: dict[str, Json] = {"decodable": False, "reason": clip.reason}
            return (Decimal(0), scores) if has_source else (Missing(f"{why}; {clip.reason}"), _ALONE | scores)
        lacking = graphs.not_measured(clip.width, clip.height)
        seen = self._run([output], graphs.alone(lacking), stop)
        if seen.exit_code is None:
            return Missing(f"{why}; {self._stopped}"), {}
        signals = read_signals(seen, "output", clip, lacking)
        found = findings(signals, None, frames=clip.frames, rate=clip.rate or 1.0)
        scores = {**_ALONE, "decodable": True, "frames": clip.frames, "size": f"{clip.width}x{clip.height}"}
        scores |= {"sound_s": clip.sound_s, "signals": signals.as_scores(), "findings": dict(found)}
        return Missing(f"{why}; checks without a source make no quality"), scores | {"not_measured": dict(lacking)}

    def _beside(self, output: Path, source: Source, stop: threading.Event) -> _Judged:
        width, height = source.size
        lacking = graphs.not_measured(width, height)
        graph = graphs.beside(width, height, lacking, source_frames=source.frames, pictures=source.picture)
        seen = self._run([output, source.path], graph, stop)
        if seen.exit_code is None:
            return Missing(self._stopped), {}
        clip, original = clip_of(seen, "output"), clip_of(seen, "source")
        if not isinstance(clip, Clip) or not isinstance(original, Clip):
            return self._not_beside(output, source, stop)
        if (transfer := clip.transfer) is not None:
            return self._alone(output, f"the output is HDR ({transfer}), which is not compared", stop)
        looked = Looked.read(seen, clip, original, lacking)
        scores = looked.as_scores()
        if (broken := looked.broken(self._sound)) is not None:
            return Decimal(0), {**scores, "reason": broken}
        if not looked.in_step:
            rate = original.rate or 1.0
            by_time = graphs.beside_by_time(width, height, lacking, source_frames=source.frames, rate=rate)
            seen = self._run([output, source.path], by_time, stop)
            if seen.exit_code is None:
                return Missing(self._stopped), scores
        compared = read_comparison(seen)
        scores |= compared.as_scores()
        return _quality(compared, lacking, single=original.frames == 1), scores

    def _not_beside(self, output: Path, source: Source, stop: threading.Event) -> _Judged:
        """Whose fault it is that the two could not be decoded side by side: each is looked at by itself."""
        of_source = look_at(source.path, deadline_s=self._deadline_s, stop=stop)
        clip = look_at(output, deadline_s=self._deadline_s, stop=stop)
        if of_source is None or clip is None:
            return Missing(self._stopped), {}
        if isinstance(of_source, Fault):
            return Missing("the source of the output cannot be decoded"), {"source": of_source.reason}
        if isinstance(clip, Fault):
            return Decimal(0), {"decodable": False, "reason": clip.reason}
        return Missing("ffmpeg could not compare the output with its source"), {}

    def _source(self, path: Path, stop: threading.Event) -> Source | None:
        # Two threads may look at one source at the same time; both find the same.
        if path not in self._sources:
            self._sources[path] = read_source(path, deadline_s=self._deadline_s, stop=stop)
        return self._sources[path]

    def _run(self, inputs: Sequence[Path], graph: str, stop: threading.Event) -> Finished:
        opened = [argument for path in inputs for argument in media_input(path)]
        sounds = [argument for at in range(len(inputs)) for argument in ("-map", f"{at}:a:0?")]
        shown = (*sounds, "-fps_mode", "passthrough", "-f", "null", "-")
        return run_ffmpeg(
            ["-filter_complex_threads", "1", *opened, "-filter_complex", graph, *shown],
            deadline_s=self._deadline_s,
            stop=stop,
        )

    @property
    def _stopped(self) -> str:
        return f"ffmpeg was stopped; its limit is {self._deadline_s:.0f} s for one output"


def _quality(compared: Comparison, lacking: Mapping[str, str], *, single: bool) -> Number:
    wanted = "ssim" if single else "vmaf"
    if wanted in lacking:
        return Missing(f"{wanted.upper()} was not measured: {lacking[wanted]}")
    if single and compared.ssim is not None:
        return max(100 * compared.ssim, Decimal(0))
    if not single and compared.vmaf is not None:
        return min(compared.vmaf.mean, Decimal(100))
    return Missing("ffmpeg could not compare the output with its source")
