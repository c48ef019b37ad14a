"""Identifiers of CONTRACTS: variants, route keys, dispatches, runs. Parsing round-trips or names the bad segment."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from datetime import datetime

from pointsman.errors import InputRefused

_NAMESPACE = uuid.UUID("6f0a2a52-5b5e-5f5e-9d62-3f0f5a1c7b11")
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_ID_RULE = "1 to 64 of A-Z a-z 0-9 . _ -"


def check_id(field: str, value: str) -> str:
    """Return `value` if it is a legal id segment, else raise `InputRefused` naming `field`."""
    if not isinstance(value, str) or not _ID.match(value):
        raise InputRefused(field, value, _ID_RULE)
    return value


def _parse(kind: str, text: str, segments: tuple[tuple[str, str], ...]) -> dict[str, str]:
    form = ":".join(f"{tag}:<{name}>" for tag, name in segments)
    parts = text.split(":") if isinstance(text, str) else []
    if len(parts) != 2 * len(segments):
        raise InputRefused(kind, text, form)
    found: dict[str, str] = {}
    for (tag, name), got_tag, got in zip(segments, parts[::2], parts[1::2], strict=True):
        if got_tag != tag:
            raise InputRefused(f"{kind}, segment {tag}", got_tag, f"the word {tag!r}, as in {form}")
        found[name] = check_id(f"{kind}, segment {tag}", got)
    return found


_ROUTE_SEGMENTS = (("er", "effect_revision"), ("env", "environment"), ("stage", "stage"))
_VARIANT_SEGMENTS = (
    ("er", "effect_revision"),
    ("wf", "workflow"),
    ("env", "environment"),
    ("stage", "stage"),
    ("provider", "provider"),
    ("exp", "experiment"),
)


@dataclass(frozen=True, slots=True, order=True)
class RouteKey:
    """What a binding is bound to: `er:<id>:env:<id>:stage:<stage>`."""

    effect_revision: str
    environment: str
    stage: str

    def __post_init__(self) -> None:
        for tag, name in _ROUTE_SEGMENTS:
            check_id(f"route key, segment {tag}", getattr(self, name))

    @classmethod
    def parse(cls, text: str) -> RouteKey:
        return cls(**_parse("route key", text, _ROUTE_SEGMENTS))

    def __str__(self) -> str:
        return f"er:{self.effect_revision}:env:{self.environment}:stage:{self.stage}"


@dataclass(frozen=True, slots=True, order=True)
class VariantId:
    """One way of producing an effect: `er:<id>:wf:<id>:env:<id>:stage:<stage>:provider:<name>:exp:<id>`."""

    effect_revision: str
    workflow: str
    environment: str
    stage: str
    provider: str
    experiment: str

    def __post_init__(self) -> None:
        for tag, name in _VARIANT_SEGMENTS:
            check_id(f"variant id, segment {tag}", getattr(self, name))

    @classmethod
    def parse(cls, text: str) -> VariantId:
        return cls(**_parse("variant id", text, _VARIANT_SEGMENTS))

    def __str__(self) -> str:
        return (
            f"er:{self.effect_revision}:wf:{self.workflow}:env:{self.environment}"
            f":stage:{self.stage}:provider:{self.provider}:exp:{self.experiment}"
        )

    @property
    def route_key(self) -> RouteKey:
        return RouteKey(self.effect_revision, self.environment, self.stage)

    @property
    def label(self) -> str:
        """Short name for tables: workflow at provider."""
        return f"{self.workflow}@{self.provider}"


def derive(*names: object) -> str:
    """UUIDv5 of the names: the same names always give the same id, so a repeated step continues its own work."""
    return str(uuid.uuid5(_NAMESPACE, "\x1f".join(str(name) for name in names)))


def dispatch_id(run_id: str, seq: int) -> str:
    """`studio_load_test_<run_id>_<seq>_<uuid>`: a repeated submission of (run, seq) carries the same id."""
    return f"studio_load_test_{run_id}_{seq}_{derive('dispatch', run_id, seq)}"


def routed_dispatch_id(run_id: str, route: RouteKey, seq: int) -> str:
    """`studio_routed_<route>_<seq>_<uuid>` of a routed probe; the uuid also covers the run."""
    return f"studio_routed_{route}_{seq}_{derive('routed', run_id, route, seq)}"


def benchmark_id(*names: object) -> str:
    """`bm_<uuid>` derived from the names."""
    return f"bm_{derive('benchmark', *names)}"


def scenario_context(name: str, at: datetime) -> str:
    """`<scenario name>-<UTC yyyymmddThhmmss>`."""
    return f"{check_id('scenario name', name)}-{at:%Y%m%dT%H%M%S}"
