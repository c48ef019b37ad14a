"""AWS, for looking only: every call that is not a Describe, List or Get is refused before it leaves this machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pointsman.errors import GuardRefused
from pointsman.settings.aws import AwsPlace

_READS = ("Describe", "List", "Get")


class ReadOnlyAws:
    """Clients of one region. `calls` are the operations that were asked, as `service:Operation`."""

    def __init__(self, place: AwsPlace) -> None:
        from botocore.config import Config  # slow to import, and most commands ask nothing of AWS

        self._aws = place.open()
        self._aws.session.events.register("before-call", self._look)
        self._config = Config(connect_timeout=3, read_timeout=20, retries={"mode": "standard", "max_attempts": 3})
        self._clients: dict[str, Any] = {}
        self.calls: set[str] = set()

    @property
    def region(self) -> str | None:
        region: str | None = self._aws.session.region_name
        return region

    def ask(self, service: str, operation: str, **asked: Any) -> Mapping[str, Any]:
        """One call. Raises botocore's own errors, and `GuardRefused` for a call that could change something."""
        found: Mapping[str, Any] = getattr(self._client(service), operation)(**asked)
        return found

    def all(self, service: str, operation: str, key: str, **asked: Any) -> Iterator[Any]:
        """The entries under `key` of every page."""
        for page in self.pages(service, operation, **asked):
            yield from page.get(key) or ()

    def pages(self, service: str, operation: str, **asked: Any) -> Iterator[Mapping[str, Any]]:
        """Every page of an answer that comes in pages."""
        yield from self._client(service).get_paginator(operation).paginate(**asked)

    def _client(self, service: str) -> Any:
        if service not in self._clients:
            self._clients[service] = self._aws.client(service, self._config)
        return self._clients[service]

    def _look(self, model: Any, **_rest: Any) -> None:
        called = f"{model.service_model.service_name}:{model.name}"
        if not model.name.startswith(_READS):
            raise GuardRefused(
                f"{called} could change something; only looking is allowed here.",
                instruction="This is a bug: say which version of Pointsman did it.",
                code="not_read_only",
            )
        self.calls.add(called)
