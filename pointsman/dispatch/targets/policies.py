"""Sections of a preset that say how a provider behaves: what it promises, what it limits, where outputs may lie."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated

from pydantic import AfterValidator, Field

from pointsman.dispatch.targets.section import Section

_HOST = re.compile(r"\.?[a-z0-9]([a-z0-9.-]{0,250}[a-z0-9])?\Z|\[?[0-9a-f:]+\]?\Z")


def _host(value: str) -> str:
    if not _HOST.match(value.lower()):
        raise ValueError("allowed: a host name, or .example.com for it and everything below it")
    return value.lower().strip("[]")


def _network(value: str) -> str:
    return str(ipaddress.ip_network(value))


Host = Annotated[str, AfterValidator(_host)]
"""`cdn.example.com` is that host alone; `.example.com` is example.com and all hosts below it."""
Network = Annotated[str, AfterValidator(_network)]


class CapabilitiesSection(Section):
    idempotent_submit: bool = False
    """A repeated submission is one job. Where the API wants a key for that, `submit.headers` or the body carries it."""
    status_by_dispatch_id: bool = False
    batch_status: int | None = Field(default=None, ge=0, le=10_000)
    """None = 1 with a [poll] section, 0 without one."""
    needs_executor_secret: bool = False


class RatesSection(Section):
    """The provider's own limits in requests a second; they are kept by waiting. None = none is known.

    Without one for status requests there are 50 a second at most.
    """

    submits_per_s: float | None = Field(default=None, gt=0, le=100_000)
    polls_per_s: float | None = Field(default=None, gt=0, le=100_000)


class HiddenRetriesSection(Section):
    """How often the provider runs a failed job again without saying so, and which submit headers turn that off."""

    most: int = Field(ge=1)
    off: dict[str, str] = Field(default_factory=dict)


class OutputsSection(Section):
    """Where outputs may be fetched from besides the target itself, and for how long."""

    hosts: tuple[Host, ...] = ()
    networks: tuple[Network, ...] = ()
    """Address ranges that are allowed although they are not public, e.g. 10.0.0.0/8."""
    lifetime_s: float | None = Field(default=None, gt=0)
    """How long after the end of a job its output can be had."""
