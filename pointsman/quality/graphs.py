"""The filter graphs of the local evaluator: one pass of ffmpeg over a clip, alone or beside its source.

Filters that write what they see into the log carry the name of the clip that they look at: `freezedetect@output`.
An ffmpeg may have been built without a filter that measures something; what it then cannot measure is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pointsman.model import Json
from pointsman.quality.ffmpeg import ffmpeg_filters

Seen = Literal["output", "source"]
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
SMALLEST_SSIM = 16
"""The same for SSIM, whose windows of eight pixels have to fit into the colour planes too, half the size each way."""
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

INPUTS: Mapping[Seen, int] = {"output": 0, "source": 1}
_SIZE = "scale@{of}={width}:{height}:flags=bicubic:out_range=tv,"
# Pictures alone are often cut out: laid on black, what is transparent only in one of the two makes a difference.
_ON_BLACK = "format=gbrap,premultiply=inplace=1,"
_PAIRED = "format=yuv420p,settb=1/1000,setpts=N"
# From here on frame n is at n milliseconds, so what the next two say in seconds are thousands of frames.
_REPEATS = ",freezedetect@{of}=n=0.001:d=0.002"
_BLACK = ",blackdetect@{of}=d=0.001:picture_black_ratio_th=0.98:pixel_black_th=0.10"
_RHYTHM = "settb=1/1000,vfrdet@{of},"
_LOOK = f"select='not(mod(n,{LOOK_EVERY}))'"
_SHARPNESS = ",blurdetect@{of}"
_TOLD = "n_threads=1:log_fmt=json:log_path=/dev/stdout"
_VMAF = f"libvmaf=model=version={VMAF_MODEL}:{_TOLD}"
# Without a model it is CAMBI alone that is computed.
_BANDING = f"libvmaf=model=:{_TOLD}:feature=name=cambi\\\\:full_ref=true"


def rules() -> dict[str, Json]:
    """Everything here that decides how a number comes about."""
    return {
        "filters": [_SIZE, _ON_BLACK, _PAIRED, _REPEATS, _BLACK, _RHYTHM, _LOOK, _SHARPNESS, _VMAF, _BANDING],
        "alignment": "by frame number when both have as many and an even rhythm, else by time at the source's rate",
        "every": VMAF_EVERY,
        "long": LONG,
        "smallest": [SMALLEST, SMALLEST_SSIM],
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
    for name, least in (("vmaf", SMALLEST), ("ssim", SMALLEST_SSIM)):
        if short < least:
            lacking[name] = f"a picture of {width}x{height} is too small; it takes {least} pixels each way"
    if long < BANDED:
        lacking["banding"] = f"a picture of {width}x{height} is too small; it takes {BANDED} pixels one way"
    elif long > WIDEST * short:
        lacking["banding"] = f"a picture of {width}x{height} is too narrow; a side may be {WIDEST} times the other"
    return lacking | absent()


def alone(lacking: Mapping[str, str]) -> str:
    """Look at input 0 as it is; for its banding beside itself, as the filter takes two."""
    graph = _watched("output", lacking, _PAIRED) + f",{_LOOK}{_sharpness('output', lacking)}"
    return graph if "banding" in lacking else f"{graph},split[look][same];[look][same]{_BANDING}"


def beside(width: int, height: int, lacking: Mapping[str, str], *, source_frames: int, pictures: bool) -> str:
    """Compare input 0 with its source, input 1, frame by frame at the source's size, and look at both.

    Nothing is cut off, so that all frames of a longer output get counted. `source_frames` is how many the source has as
    far as its header tells, and decides only how many of them VMAF looks at. `pictures` tells that they are no clips.
    """
    picture = _SIZE.format(of="{of}", width=width, height=height) + (_ON_BLACK if pictures else "") + _PAIRED
    comparers = _comparers(lacking, every=_every(source_frames), cut=0)
    sources = "".join(f"[source{at}]" for at in range(len(comparers)))
    looks = {of: f"[look_{of}]{_LOOK}{_sharpness(of, lacking)}" for of in INPUTS}
    if "banding" in lacking:
        # What nothing is compared with has to be asked for itself: ffmpeg ends when all that is asked for is there.
        looking = f"{looks['output']},nullsink;{looks['source']},{'nullsink' if comparers else 'null'}"
    else:
        looking = ";".join(f"{look}[seen_{of}]" for of, look in looks.items())
        looking += f";[seen_output][seen_source]{_BANDING},nullsink"
    return ";".join(
        [
            _watched("output", lacking, picture) + ",split[output][look_output]",
            _watched("source", lacking, picture) + f",split={len(comparers) + 1}{sources}[look_source]",
            looking,
            _chained(comparers),
        ]
    )


def beside_by_time(width: int, height: int, lacking: Mapping[str, str], *, source_frames: int, rate: float) -> str:
    """Compare input 0 with its source, input 1, by time at `rate` frames per second, as far as both last."""
    output, source = (f"fps={rate}," + _SIZE.format(of=of, width=width, height=height) + _PAIRED for of in INPUTS)
    comparers = _comparers(lacking, every=_every(source_frames), cut=1)
    sources = "".join(f"[source{at}]" for at in range(len(comparers)))
    split = f",split={len(comparers)}{sources}" if comparers else ",nullsink"
    return f"[0:v:0]{output}[output];[1:v:0]{source}{split};{_chained(comparers)}"


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


def _watched(of: Seen, lacking: Mapping[str, str], picture: str) -> str:
    rhythm = "" if "frame_rate" in lacking else _RHYTHM
    watch = ("" if "repeats" in lacking else _REPEATS) + ("" if "black" in lacking else _BLACK)
    return f"[{INPUTS[of]}:v:0]" + (rhythm + picture + watch).format(of=of)


def _sharpness(of: Seen, lacking: Mapping[str, str]) -> str:
    return "" if "sharpness" in lacking else _SHARPNESS.format(of=of)
