"""The Files API of Gemini: what is too large for a request is uploaded once, named by address, and deleted at the end.

The client library's own upload sends the file's name along and tries again on its own; this one does neither. The key
goes to the API's origin and nowhere else, also when the API names another address to upload to.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from math import inf
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from pointsman.clock import Clock
from pointsman.quality.retry import asked_wait
from pointsman.settings import Secret

GOOGLE = "https://generativelanguage.googleapis.com"
PATIENCE_S = 300.0
"""How long a file that was uploaded may take to get ready."""
LASTS_S = 47 * 3600.0
"""The API deletes a file after two days; what was uploaded longer ago than this is uploaded again."""
_LOOK_EVERY_S = 2.0


class UploadFailed(Exception):
    """The API did not take a file, or did not get it ready. `status` is None when that was not said in HTTP.

    `asked_wait` are the seconds that it asks to wait before the next try.
    """

    def __init__(self, what: str, *, status: int | None = None, asked_wait: float | None = None) -> None:
        self.what = what
        self.status = status
        self.asked_wait = asked_wait
        super().__init__(what)


class FilesApi:
    """Files uploaded while one judge judges. Thread-safe: the same content is uploaded once.

    While `needed` is set, somebody else is going to read what was uploaded, and it is not deleted at the end.
    """

    def __init__(self, *, api_key: Secret, base_url: str | None, timeout_s: float, clock: Clock) -> None:
        self._base = (base_url or GOOGLE).rstrip("/")
        self._key = api_key
        self._timeout_s = timeout_s
        self._clock = clock
        self._client: httpx.Client | None = None
        self._lock = threading.Lock()
        self._uploads: dict[str, Future[tuple[str, str]]] = {}
        self._until: dict[str, float] = {}
        self.needed = False

    @property
    def names(self) -> list[str]:
        """The API's names of what was uploaded."""
        return [upload.result()[0] for upload in self._uploads.values() if upload.done() and not upload.exception()]

    def upload(self, path: Path, sha256: str, mime: str, stop: threading.Event) -> tuple[str, str]:
        """The API's name of this content and the address by which a request names it, uploaded now if need be.

        Raises `UploadFailed` and `httpx.HTTPError`; the next call tries again then.
        """
        with self._lock:
            known = self._uploads.get(sha256)
            if self._clock.monotonic() > self._until.get(sha256, inf):
                known = None
            mine: Future[tuple[str, str]] = Future()
            if known is None:
                self._uploads[sha256] = mine
                self._until[sha256] = self._clock.monotonic() + LASTS_S
        if known is not None:
            return known.result()
        try:
            mine.set_result(self._upload(path, mime, stop))
        except BaseException as error:
            with self._lock:
                del self._uploads[sha256]
            mine.set_exception(error)
            raise
        return mine.result()

    def close(self) -> None:
        """Delete what was uploaded. What cannot be deleted now the API deletes by itself after two days."""
        if self._client is None:
            return
        if not self.needed:
            self.delete(self.names)
        self._client.close()

    def delete(self, names: Sequence[str]) -> None:
        """Delete files by name, as far as that can be done now."""
        for name in names:
            with contextlib.suppress(httpx.HTTPError):
                self._http().delete(f"{self._base}/v1beta/{name}", headers=self._headers())

    def _upload(self, path: Path, mime: str, stop: threading.Event) -> tuple[str, str]:
        client = self._http()
        size = str(path.stat().st_size)
        begun = self._checked(
            client.post(
                f"{self._base}/upload/v1beta/files",
                headers={
                    **self._headers(),
                    "X-Goog-Upload-Protocol": "resumable",
                    "X-Goog-Upload-Command": "start",
                    "X-Goog-Upload-Header-Content-Length": size,
                    "X-Goog-Upload-Header-Content-Type": mime,
                },
                json={"file": {"mimeType": mime}},
            )
        )
        to = begun.headers.get("x-goog-upload-url", "")
        if _origin(to) != _origin(self._base):
            raise UploadFailed(f"it names another origin to upload to: {_origin(to)}")
        with path.open("rb") as content:
            done = self._checked(
                client.post(
                    to,
                    headers={
                        **self._headers(),
                        "Content-Length": size,
                        "X-Goog-Upload-Command": "upload, finalize",
                        "X-Goog-Upload-Offset": "0",
                    },
                    content=content,
                )
            )
        return self._ready(_file(done, "file"), stop)

    def _ready(self, file: dict[str, Any], stop: threading.Event) -> tuple[str, str]:
        """Wait until the API has taken the file in; return its name and address."""
        until = self._clock.monotonic() + PATIENCE_S
        while file.get("state") == "PROCESSING" and self._clock.monotonic() < until and not stop.is_set():
            self._clock.sleep(_LOOK_EVERY_S)
            looked = self._http().get(f"{self._base}/v1beta/{file['name']}", headers=self._headers())
            if not (looked.status_code == 429 or looked.status_code >= 500):  # that says nothing of the file
                file = _file(self._checked(looked), None)
        if file.get("state") != "ACTIVE":
            raise UploadFailed(f"the file's state is {file.get('state')}")
        return str(file["name"]), str(file["uri"])

    def _http(self) -> httpx.Client:
        with self._lock:
            if self._client is None:
                self._client = httpx.Client(timeout=self._timeout_s, follow_redirects=False)
            return self._client

    def _headers(self) -> dict[str, str]:
        return {"x-goog-api-key": self._key.reveal()}

    def _checked(self, response: httpx.Response) -> httpx.Response:
        if response.status_code != 200:
            wait = asked_wait(response.headers, _document(response), self._clock.now())
            raise UploadFailed(f"HTTP {response.status_code}", status=response.status_code, asked_wait=wait)
        return response


def _file(response: httpx.Response, within: str | None) -> dict[str, Any]:
    try:
        document = response.json()
        file = document[within] if within else document
        if isinstance(file["name"], str) and isinstance(file["uri"], str):
            return dict(file)
    except (ValueError, KeyError, TypeError) as error:
        raise UploadFailed("its answer describes no file") from error
    raise UploadFailed("its answer describes no file")


def _document(response: httpx.Response) -> object:
    try:
        return response.json()
    except ValueError:
        return None


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc
