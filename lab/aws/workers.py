"""The lab's workers as the effects backend shows them: by the instance that owns them."""

from __future__ import annotations

from urllib.parse import urlsplit

import httpx

from pointsman.errors import DependencyDown, InputRefused
from pointsman.settings import Secret


class LabWorkers:
    """Stops and starts workers through the backend's control endpoint."""

    def __init__(self, effects_url: str, secret: Secret) -> None:
        if urlsplit(effects_url).hostname not in ("127.0.0.1", "localhost"):
            raise InputRefused("--effects-url", effects_url, "an address of this machine")
        headers = {"X-Studio-Executor-Secret": secret.reveal()}
        self._http = httpx.Client(base_url=effects_url, headers=headers, timeout=5)

    def instance_ids(self, provider: str) -> list[str]:
        """The instances of a provider. Raises `DependencyDown` when the backend does not answer."""
        try:
            found = self._http.get("/v1/instances").raise_for_status().json()["instances"]
        except httpx.HTTPError as error:
            raise DependencyDown(
                f"The effects backend does not answer: {error}.",
                instruction="Start it first: python -m lab.effects; then start the lab's AWS again.",
            ) from error
        return [one["instance_id"] for one in found if one["provider"] == provider]

    def stop(self, instance_id: str, *, kind: str, at_most_s: float) -> None:
        body = {"kind": kind, "at_most_s": at_most_s}
        self._http.post(f"/v1/instances/{instance_id}/stop", json=body).raise_for_status()

    def start(self, instance_id: str) -> None:
        self._http.post(f"/v1/instances/{instance_id}/start").raise_for_status()
