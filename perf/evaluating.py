"""How fast the local evaluator judges, against ffmpeg alone: VMAF and SSIM of the same outputs on the same cores.

Limit: at least 0.8 times as fast as the bare command, which is run as often, as many at a time, with the same model on
as many frames and nothing else: no signals, no sound, no PSNR, no header of a source. Both judge every output in turn,
five times, and the quickest round of each counts. Beside it, not limited: the command as one would type it, where VMAF
looks at every frame, and the CPU seconds of each, which hardly depend on what else the machine does.
Run: python -m perf.evaluating
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pointsman.clock import SystemClock
from pointsman.quality import LocalJudge, Sample
from pointsman.quality.ffmpeg import ffmpeg_path
from pointsman.quality.graphs import VMAF_EVERY, VMAF_MODEL

LIMIT = 0.8
ROUNDS = 5
WORKERS = 2
SIZE = "480x270"
"""Clips like those of the lab: two seconds at 30 frames per second."""
# Seven outputs of each source, as in the demo.
ENCODERS = {
    "x264 crf 20": ("-c:v", "libx264", "-crf", "20", "-preset", "veryfast"),
    "x264 crf 26": ("-c:v", "libx264", "-crf", "26"),
    "x264 crf 32": ("-c:v", "libx264", "-crf", "32"),
    "x265 crf 28": ("-c:v", "libx265", "-crf", "28", "-preset", "fast", "-x265-params", "log-level=error"),
    "vp9": ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "6", "-crf", "34", "-b:v", "0"),
    "svtav1": ("-c:v", "libsvtav1", "-preset", "10", "-crf", "38"),
    "mpeg4": ("-c:v", "mpeg4", "-q:v", "4"),
}
PLANES = (
    "mandelbrot=s={size}:r=30:end_scale=0.05:start_scale=2",
    "testsrc2=s={size}:r=30",
    "life=s={size}:r=30:mold=9",
)


def encode(*arguments: str) -> None:
    subprocess.run([ffmpeg_path(), "-v", "error", "-y", "-nostdin", *arguments], check=True, capture_output=True)


def make_outputs(folder: Path) -> list[Sample]:
    """Every source in every encoding."""
    samples = []
    for at, plane in enumerate(PLANES):
        source = folder / f"source-{at}.mp4"
        picture = ("-f", "lavfi", "-i", plane.format(size=SIZE), "-t", "2", "-pix_fmt", "yuv420p")
        encode(*picture, "-c:v", "libx264", "-crf", "12", "-preset", "veryfast", str(source))
        for name, encoder in ENCODERS.items():
            output = folder / f"{at}-{name.replace(' ', '-')}.mkv"
            encode("-i", str(source), *encoder, "-threads", "1", str(output))
            samples.append(Sample(f"d-{at}-{name}", output, source, "label"))
    return samples


def bare(sample: Sample, every: int) -> None:
    """One ffmpeg that writes VMAF and SSIM into its log, as it is found in handbooks."""
    even = "settb=1/30,setpts=N"
    graph = (
        f"[0:v]{even},split[a][b];[1:v]{even},split[c][d];[a][c]ssim,nullsink;"
        f"[b][d]libvmaf=model=version={VMAF_MODEL}:n_threads=1:n_subsample={every}"
    )
    opened = ("-threads", "1", "-i", str(sample.output), "-threads", "1", "-i", str(sample.source))
    command = [ffmpeg_path(), "-nostdin", "-hide_banner", "-filter_complex_threads", "1", *opened]
    done = subprocess.run([*command, "-lavfi", graph, "-an", "-f", "null", "-"], check=True, capture_output=True)
    if b"VMAF score" not in done.stderr:
        raise RuntimeError(f"ffmpeg measured nothing of {sample.output.name}")


def bare_round(samples: list[Sample], every: int) -> None:
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(lambda sample: bare(sample, every), samples))


def judged_round(samples: list[Sample]) -> None:
    judged = list(LocalJudge(clock=SystemClock(), workers=WORKERS).judge(samples))
    if not all("vmaf" in one.scores and "ssim" in one.scores for one in judged):
        raise RuntimeError("an output was not judged")


def seconds(step: Callable[[], None]) -> tuple[float, float]:
    """By the clock, and of the CPU: of this process and of all that it waited for."""
    started, used = time.perf_counter(), cpu_seconds()
    step()
    return time.perf_counter() - started, cpu_seconds() - used


def cpu_seconds() -> float:
    ours, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return ours.ru_utime + ours.ru_stime + children.ru_utime + children.ru_stime


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        samples = make_outputs(Path(folder))
        steps: dict[str, Callable[[], None]] = {
            "ffmpeg alone, the same frames": lambda: bare_round(samples, VMAF_EVERY),
            "ffmpeg alone, every frame": lambda: bare_round(samples, 1),
            "local evaluator": lambda: judged_round(samples),
        }
        # In turns, so that what else the machine does meets all of them.
        rounds = [{name: seconds(step) for name, step in steps.items()} for _ in range(ROUNDS)]
    took = {name: min(one[name][0] for one in rounds) for name in steps}
    used = {name: min(one[name][1] for one in rounds) for name in steps}
    same, whole, ours = took.values()
    alone = used["ffmpeg alone, the same frames"]
    table = Table(
        *("", "seconds", "ms an output", "times as fast as ffmpeg", "CPU seconds", "as little CPU as ffmpeg"),
        title=f"{len(samples)} outputs, {WORKERS} at a time",
    )
    for name, spent in took.items():
        each, faster, less = 1000 * spent / len(samples), same / spent, alone / used[name]
        table.add_row(name, f"{spent:.2f}", f"{each:.0f}", f"{faster:.2f}", f"{used[name]:.2f}", f"{less:.2f}")
    Console().print(table)
    held = same / ours >= LIMIT
    print(f"Limit (at least {LIMIT} times as fast on the same frames): {'held' if held else 'missed'}.")
    print(f"Against VMAF of every frame: {whole / ours:.2f} times as fast.")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
