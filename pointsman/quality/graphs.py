"""The filter graphs of the local evaluator: one pass of ffmpeg over a clip, alone or beside its source.

An ffmpeg may have been built without a filter that measures something; what it then cannot measure is named.
"""

from __future__ import annotations

from collections.abc import Mapping

from pointsman.model import Json
from pointsman.quality.ffmpeg import ffmpeg_filters

VMAF_MODEL = "vmaf_v0.6.1"
VMAF_EVERY = 5
"""Of clips with `LONG` frames or more VMAF looks at every fifth frame; SSIM and PSNR always look at all. A third of the
CPU time, and 0.3 below the full mean for every encoder alike, within 0.2 of each other. Five shares no factor with the
two, four or eight frames after which encoders repeat their cheap ones, so it favours none of them."""
LONG = 50
LOOK_EVERY = 41
"""Sharpness and banding change slowly and cost much: they are looked at in every 41st frame, the first one included."""
SMALLEST = 32
"""Pixels of the shorter side below which VMAF's filters do not fit into the picture."""
BANDED = 216
"""Pixels of the longer side below which CAMBI, which measures banding, refuses (CAMBI_MIN_WIDTH_HEIGHT of libvmaf)."""
WIDEST = 4
"""How many times one side may be as long as the other for CAMBI's window to fit; beyond, ffmpeg ends abruptly."""

MEASURES: Mapping[str, str] = {
    "vmaf": "libvmaf",
    "ssim": "ssim",
    "psnr": "psnr",
    "repeats": "freezedetect",
    "black": "blackdetect",
    "sharpness": "blurdetect",
    "banding": "libvmaf",
    "frame_rate": "vfrdet",
}
"""What is measured, and the filter of ffmpeg that it needs."""

_SIZE = "scale={width}:{height}:flags=bicubic:out_range=tv,"
_PAIRED = "format=yuv420p,settb=1/1000,setpts=N"
# From here on frame n is at n milliseconds, so what the next two say in seconds are thousands of frames.
_REPEATS = ",freezedetect=n=0.001:d=0.002"
_BLACK = ",blackdetect=d=0.001:picture_black_ratio_th=0.98:pixel_black_th=0.10"
_RHYTHM = "settb=1/1000,vfrdet,"
_LOOK = f"select='not(mod(n,{LOOK_EVERY}))'"
_SHARPNESS = ",blurdetect"
_VMAF = f"libvmaf=model=version={VMAF_MODEL}:n_threads=1:log_fmt=json:log_path=/dev/stdout"
_BANDING = f"{_VMAF}:feature=name=cambi\\\\:full_ref=true"


def rules() -> dict[str, Json]:
    """Everything here that decides how a number comes about."""
    return {
        "filters": [_SIZE, _PAIRED, _REPEATS, _BLACK, _RHYTHM, _LOOK, _SHARPNESS, _VMAF, _BANDING],
        "alignment": "by frame number when both have as many and an even rhythm, else by time at the source's rate",
        "every": VMAF_EVERY,
        "long": LONG,
        "smallest": SMALLEST,
        "banded": BANDED,
        "widest": WIDEST,
    }


def absent() -> dict[str, str]:
    """Which of `MEASURES` this ffmpeg cannot take, each with the reason."""
    have = ffmpeg_filters()
    return {name: f"this ffmpeg has no filter {needed}" for name, needed in MEASURES.items() if needed not in have}


def not_measured(width: int, height: int) -> dict[str, str]:
    """Which of `MEASURES` cannot be taken of pictures of this size by this ffmpeg, each with the reason."""
    lacking: dict[str, str] = {}
    short, long = sorted((width, height))
    if short < SMALLEST:
        lacking["vmaf"] = f"a picture of {width}x{height} is too small; it takes {SMALLEST} pixels each way"
    if long < BANDED:
        lacking["banding"] = f"a picture of {width}x{height} is too small; it takes {BANDED} pixels one way"
    elif long > WIDEST * short:
        lacking["banding"] = f"a picture of {width}x{height} is too narrow; a side may be {WIDEST} times the other"
    return lacking | absent()


def alone(lacking: Mapping[str, str], *, banding: bool) -> str:
    """Look at input 0 as it is; for `banding` beside itself, as the filter takes two."""
    graph = f"[0:v:0]{_rhythm(lacking)}{_PAIRED}{_watched(lacking)},{_LOOK}{_sharpness(lacking)}"
    if banding and "banding" not in lacking:
        graph += f",split[look][same];[look][same]{_BANDING}"
    return graph


def beside(width: int, height: int, lacking: Mapping[str, str], *, source_frames: int) -> str:
    """Compare input 0 with its source, input 1, frame by frame at the source's size, and look at input 0.

    Nothing is cut off, so that all frames of a longer output get counted.
    """
    picture = _SIZE.format(width=width, height=height) + _PAIRED
    comparers = _comparers(lacking, every=_every(source_frames), cut=0)
    sources = [f"[source{at}]" for at in range(len(comparers))]
    looking = f"[look]{_LOOK}{_sharpness(lacking)}"
    if "banding" in lacking:
        looking += ",nullsink"
    else:
        looking += f"[seen];[beside]{_LOOK}[same];[seen][same]{_BANDING},nullsink"
        sources.append("[beside]")
    return ";".join(
        [
            f"[0:v:0]{_rhythm(lacking)}{picture}{_watched(lacking)},split[output][look]",
            f"[1:v:0]{picture}" + (f",split={len(sources)}{''.join(sources)}" if sources else ",nullsink"),
            looking,
            _chained(comparers),
        ]
    )


def beside_by_time(width: int, height: int, lacking: Mapping[str, str], *, source_frames: int, rate: float) -> str:
    """Compare input 0 with its source, input 1, by time at `rate` frames per second, as far as both last."""
    picture = f"fps={rate}," + _SIZE.format(width=width, height=height) + _PAIRED
    comparers = _comparers(lacking, every=_every(source_frames), cut=1)
    sources = "".join(f"[source{at}]" for at in range(len(comparers)))
    split = f",split={len(comparers)}{sources}" if comparers else ",nullsink"
    return f"[0:v:0]{picture}[output];[1:v:0]{picture}{split};{_chained(comparers)}"


def _every(source_frames: int) -> int:
    return VMAF_EVERY if source_frames >= LONG else 1


def _comparers(lacking: Mapping[str, str], *, every: int, cut: int) -> list[str]:
    # The cheapest first: each hands the output on to the next.
    filters = {
        "ssim": f"ssim=shortest={cut}",
        "psnr": f"psnr=shortest={cut}",
        "vmaf": f"{_VMAF}:n_subsample={every}:shortest={cut}",
    }
    return [one for name, one in filters.items() if name not in lacking]


def _chained(comparers: list[str]) -> str:
    parts = []
    before = "[output]"
    for at, one in enumerate(comparers):
        after = f"[compared{at}]" if at + 1 < len(comparers) else ""
        parts.append(f"{before}[source{at}]{one}{after}")
        before = after
    return ";".join(parts) or "[output]null"


def _rhythm(lacking: Mapping[str, str]) -> str:
    return "" if "frame_rate" in lacking else _RHYTHM


def _watched(lacking: Mapping[str, str]) -> str:
    return ("" if "repeats" in lacking else _REPEATS) + ("" if "black" in lacking else _BLACK)


def _sharpness(lacking: Mapping[str, str]) -> str:
    return "" if "sharpness" in lacking else _SHARPNESS
