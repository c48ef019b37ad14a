"""How close an output is to its source: what ffmpeg measured of the two, read from its log and its output."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from pointsman.model import Json
from pointsman.quality.ffmpeg import Finished

# Only what the filters themselves say: ffmpeg's log also quotes metadata of the files, which may say anything.
_SSIM = re.compile(r"^\[Parsed_ssim_.*?\] SSIM .*All:(-?[\d.]+)", re.M)
_PSNR = re.compile(r"^\[Parsed_psnr_.*?\] PSNR .*average:(inf|[\d.]+)", re.M)


@dataclass(frozen=True, slots=True)
class Vmaf:
    """VMAF of the frames that were looked at, 0 to 100.

    `p5` is the one that 5 % of them do not reach (nearest rank), `harmonic` the harmonic mean as libvmaf has it:
    n / sum(1 / (score + 1)) - 1, which a few bad frames pull down further than the mean.
    """

    mean: Decimal
    p5: float
    harmonic: float
    frames: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """`ssim` of all planes (Wang et al. 2004), at most 1; `psnr` of all planes in dB, infinite for equal pictures."""

    vmaf: Vmaf | None
    ssim: Decimal | None
    psnr: float | None

    def as_scores(self) -> dict[str, Json]:
        """Only what was measured. `psnr_db` is null for pictures that are `identical`: there is no noise to relate."""
        scores: dict[str, Json] = {}
        if self.vmaf is not None:
            scores |= {
                "vmaf": float(self.vmaf.mean),
                "vmaf_p5": self.vmaf.p5,
                "vmaf_harmonic": self.vmaf.harmonic,
                "vmaf_frames": self.vmaf.frames,
            }
        if self.ssim is not None:
            scores["ssim"] = float(self.ssim)
        if self.psnr is not None:
            same = math.isinf(self.psnr)
            scores |= {"psnr_db": None if same else self.psnr, "identical": same}
        return scores


def read_comparison(seen: Finished) -> Comparison:
    """What a pass of `graphs.beside` or `graphs.beside_by_time` measured; None for what it did not."""
    ssim, psnr = _SSIM.search(seen.log), _PSNR.search(seen.log)
    return Comparison(
        next((_vmaf(found) for found in vmaf_logs(seen) if "vmaf" in found["pooled_metrics"]), None),
        None if ssim is None else Decimal(ssim[1]),
        None if psnr is None else float(psnr[1]),
    )


def vmaf_logs(seen: Finished) -> Iterator[dict[str, Any]]:
    """The documents that the libvmaf filters of a graph wrote to the standard output, one after the other."""
    text, decoder = seen.out.strip(), json.JSONDecoder()
    while text:
        try:
            document, end = decoder.raw_decode(text)
        except json.JSONDecodeError:
            return
        if document.get("frames") and document.get("pooled_metrics"):
            yield document
        text = text[end:].lstrip()


def _vmaf(document: dict[str, Any]) -> Vmaf:
    scores = sorted(float(frame["metrics"]["vmaf"]) for frame in document["frames"])
    pooled = document["pooled_metrics"]["vmaf"]
    return Vmaf(
        mean=Decimal(str(pooled["mean"])),
        p5=scores[math.ceil(0.05 * len(scores)) - 1],
        harmonic=float(pooled["harmonic_mean"]),
        frames=len(scores),
    )
