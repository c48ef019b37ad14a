"""Clips that are odd in one way each, made by ffmpeg: a second or less, and small."""

from __future__ import annotations

import subprocess
from pathlib import Path

from pointsman.quality.ffmpeg import ffmpeg_path
from tests.quality.worlds import Clips

_X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-threads", "1", "-pix_fmt", "yuv420p")
_ON_ITS_SIDE = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
"""Metadata of a photograph that has to be turned to the right (Exif, orientation 6)."""
_HDR = "log-level=error:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc"


def make_odd_clips(folder: Path) -> Clips:
    def make(name: str, *arguments: str) -> str:
        path = str(folder / name)
        subprocess.run([ffmpeg_path(), "-v", "error", "-y", *arguments, path], check=True)
        return path

    def moving(size: str = "96x64", seconds: float = 1.0, rate: int = 20) -> tuple[str, ...]:
        return ("-f", "lavfi", "-i", f"testsrc2=s={size}:r={rate}:d={seconds}")

    tone = ("-f", "lavfi", "-i", "sine=d=1")
    plain = make("plain.mp4", *moving(), *_X264)
    make("again.mp4", "-i", plain, *_X264, "-crf", "30")
    # The first half of a second at 20 frames per second, then three, a fifth of a second apart.
    make("uneven.mp4", "-i", plain, "-vf", "select='lt(n,10)+eq(mod(n,4),3)'", "-fps_mode", "vfr", *_X264)
    make("uneven.mkv", "-i", str(folder / "uneven.mp4"), "-c", "copy")
    make("odd_sized.mp4", "-i", plain, "-vf", "scale=97:65", *_X264[:-2], "-pix_fmt", "yuv444p")
    make("odd_again.mp4", "-i", str(folder / "odd_sized.mp4"), "-vf", "scale=96:64", *_X264)
    make("single.mp4", *moving(seconds=0.05), *_X264)
    make("single_again.mp4", "-i", str(folder / "single.mp4"), *_X264, "-crf", "35")
    make("tiny.mp4", *moving("24x24", 0.2), *_X264)
    make("turned.mp4", "-display_rotation", "90", "-i", plain, "-c", "copy")
    make("upright.mp4", "-i", str(folder / "turned.mp4"), *_X264)
    make("hdr.mp4", *moving(seconds=0.2), "-pix_fmt", "yuv420p10le", "-c:v", "libx265", "-x265-params", _HDR)
    make("ten_bits.mp4", "-i", plain, "-pix_fmt", "yuv420p10le", "-c:v", "libx265", "-x265-params", "log-level=error")
    heard = make("heard.mp4", "-i", plain, *tone, "-c:v", "copy", "-c:a", "aac")
    make("heard_again.mp4", "-i", heard, *_X264, "-c:a", "aac", "-b:a", "32k")
    make("heard_half.mp4", "-i", plain, "-f", "lavfi", "-i", "sine=d=0.5", "-c:v", "copy", "-c:a", "aac")
    make("soundless.mkv", "-i", plain, *tone, "-af", "atrim=end=0", "-c:v", "copy", "-c:a", "pcm_s16le")
    make("stands.mp4", "-i", plain, "-vf", "loop=loop=14:size=1:start=5,trim=end_frame=20,setpts=N/20/TB", *_X264)
    make("stutters.mp4", "-i", plain, "-vf", "fps=10,fps=20", *_X264, "-crf", "10")
    make("dark.mp4", "-i", plain, "-vf", "drawbox=t=fill:color=black:enable='between(n,5,9)'", *_X264)
    make("soft.mp4", "-i", plain, "-vf", "gblur=sigma=3", *_X264)
    # A slope in steps of one level, and the same with the noise that hides them.
    slope = "nullsrc=s=240x136:r=10:d=0.2,geq=lum='90+X/8':cb=128:cr=128"
    make("banded.mkv", "-f", "lavfi", "-i", slope, "-c:v", "ffv1", "-pix_fmt", "yuv420p")
    make("smooth.mkv", "-f", "lavfi", "-i", f"{slope},noise=alls=6", "-c:v", "ffv1", "-pix_fmt", "yuv420p")
    make("picture.png", "-i", plain, "-frames:v", "1")
    make("picture.jpg", "-i", plain, "-frames:v", "1", "-q:v", "20", "-update", "1")
    picture = str(folder / "picture.png")
    make("still.avif", "-i", picture, "-c:v", "libaom-av1", "-still-picture", "1", "-cpu-used", "8")
    make("still.bmp", "-i", picture)
    make("still.tiff", "-i", picture)
    make("clear.png", "-i", picture, "-vf", "format=rgba,colorchannelmixer=aa=0.5")
    make("standing.png", "-i", picture, "-vf", "transpose=1")
    make("moving.webp", "-i", plain, "-c:v", "libwebp_anim")
    photograph = Path(make("photograph.jpg", "-i", picture, "-q:v", "2", "-update", "1"))
    begin, rest = photograph.read_bytes()[:2], photograph.read_bytes()[2:]
    length = (len(_ON_ITS_SIDE) + 2).to_bytes(2, "big")
    photograph.write_bytes(begin + b"\xff\xe1" + length + _ON_ITS_SIDE + rest)
    return Clips(folder)
