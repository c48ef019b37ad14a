"""Outputs and sources as parts of a request: inline, as sampled frames, or by the Files API where they are too large.

What is sent is the content and its type. File names, paths and ids stay here.
"""

from __future__ import annotations

import hashlib
import tempfile
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from google.genai import types

from pointsman.quality.frames import sample_frames
from pointsman.quality.gemini_files import FilesApi
from pointsman.quality.media import Clip, Fault, is_animated_webp, look_at, mime_type

INLINE_LIMIT_BYTES = 14_000_000
"""Media of one request that go inline. In base64 they grow by a third, and a whole request may have 20 MB."""
FILE_LIMIT_BYTES = 2_000_000_000
"""What the Files API takes as one file."""
FRAMES_PER_SECOND = 5
"""How often the model looks at a video. Its default of once per second would see two pictures of a two-second clip."""
MOST_FRAMES = 16
"""Sampled frames of one clip: evenly spread over it, five a second where it is short."""
_KEPT = 32

Video = Literal["inline", "frames"]


@dataclass(frozen=True, slots=True)
class Medium:
    """One file as it is going to be sent."""

    path: Path
    sha256: str
    bytes: int
    mime: str


class Unsendable(Exception):
    """A file that cannot be sent, with a code and what is wrong with it."""

    def __init__(self, code: Literal["clip_too_large", "unsupported_media"], what: str) -> None:
        self.code = code
        self.what = what
        super().__init__(what)


class Media:
    """The media of one judge while it judges. Thread-safe; what is asked for again is not computed again."""

    def __init__(self, *, video: Video, files: FilesApi) -> None:
        self._video = video
        self._files = files
        self._lock = threading.Lock()
        self._played: dict[str, Clip | Fault] = {}
        self._frames: OrderedDict[str, list[bytes]] = OrderedDict()

    def medium(self, path: Path) -> Medium:
        """Raises `Unsendable` for what the API does not take."""
        with path.open("rb") as file:
            start = file.read(64)
            file.seek(0)
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        mime = mime_type(start)
        if is_animated_webp(path):
            raise Unsendable("unsupported_media", "an animated WebP, of which a model may see no more than one picture")
        if mime is None:
            raise Unsendable("unsupported_media", "a file that is none of MP4, MOV, WebM, AVI, PNG, JPEG, WebP")
        size = path.stat().st_size
        if size > FILE_LIMIT_BYTES:
            raise Unsendable("clip_too_large", f"a file of {size} bytes; allowed: {FILE_LIMIT_BYTES} bytes or less")
        return Medium(path, sha256, size, mime)

    def played(self, path: Path, stop: threading.Event) -> Clip | Fault | None:
        """Whether it can be decoded to its end; None when it was stopped before. Equal files are decoded once.

        None as well for an animated WebP, which ffmpeg cannot decode and browsers can.
        """
        if is_animated_webp(path):
            return None
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        if (known := self._played.get(sha256)) is not None:
            return known
        found = look_at(path, deadline_s=60.0, stop=stop)
        if found is not None:
            self._played[sha256] = found
        return found

    def parts(self, media: list[tuple[str, Medium]], stop: threading.Event) -> list[types.Part]:
        """The parts of one request: each medium after the words that say what it is.

        Raises what `FilesApi.upload` and `sample_frames` do.
        """
        frames = [self._sample(one, stop) if self._sampled(one) else None for _, one in media]
        sizes = (
            one.bytes if taken is None else sum(map(len, taken)) for (_, one), taken in zip(media, frames, strict=True)
        )
        by_file = sum(sizes) > INLINE_LIMIT_BYTES
        parts: list[types.Part] = []
        for (heading, one), taken in zip(media, frames, strict=True):
            parts.append(types.Part.from_text(text=heading))
            if taken is None:
                parts.append(self._whole(one, by_file=by_file, stop=stop))
            else:
                parts += [self._picture(frame, by_file=by_file, stop=stop) for frame in taken]
        return parts

    def _sampled(self, one: Medium) -> bool:
        return self._video == "frames" and one.mime.startswith("video/")

    def _whole(self, one: Medium, *, by_file: bool, stop: threading.Event) -> types.Part:
        if by_file:
            _, uri = self._files.upload(one.path, one.sha256, one.mime, stop)
            part = types.Part.from_uri(file_uri=uri, mime_type=one.mime)
        else:
            part = types.Part.from_bytes(data=one.path.read_bytes(), mime_type=one.mime)
        if one.mime.startswith("video/"):
            part.video_metadata = types.VideoMetadata(fps=FRAMES_PER_SECOND)
        return part

    def _picture(self, frame: bytes, *, by_file: bool, stop: threading.Event) -> types.Part:
        if not by_file:
            return types.Part.from_bytes(data=frame, mime_type="image/jpeg")
        with tempfile.NamedTemporaryFile(prefix="pointsman-frame-") as file:
            file.write(frame)
            file.flush()
            sha256 = hashlib.sha256(frame).hexdigest()
            _, uri = self._files.upload(Path(file.name), sha256, "image/jpeg", stop)
        return types.Part.from_uri(file_uri=uri, mime_type="image/jpeg")

    def _sample(self, one: Medium, stop: threading.Event) -> list[bytes]:
        with self._lock:
            if one.sha256 in self._frames:
                self._frames.move_to_end(one.sha256)
                return self._frames[one.sha256]
        frames = sample_frames(one.path, per_second=FRAMES_PER_SECOND, most=MOST_FRAMES, stop=stop)
        with self._lock:
            self._frames[one.sha256] = frames
            while len(self._frames) > _KEPT:
                self._frames.popitem(last=False)
        return frames
