"""Whether settings fit work that is spread over machines: on ECS nobody sees another's disk."""

from __future__ import annotations

from urllib.parse import urlsplit

from pointsman.errors import InputRefused
from pointsman.settings.resolver import ENVIRONMENT_NAMES, Settings


def require_shared(settings: Settings) -> None:
    """Raise `InputRefused` (`not_shared`) for state or results that lie on this machine's disk.

    For whoever starts a process on ECS, and for a process that is started there, before anything else.
    """
    scheme = settings.database_url.split(":", 1)[0]
    if not scheme.startswith("postgresql"):
        raise InputRefused(
            ENVIRONMENT_NAMES["database_url"],
            f"{scheme}:...",
            "on ECS: postgresql+psycopg://..., which every task reaches",
            instruction="Set it to the URL of the shared PostgreSQL, as the environment's stack outputs it.",
            code="not_shared",
        )
    place = urlsplit(settings.results_uri)
    if place.scheme != "s3" or not place.netloc:
        raise InputRefused(
            ENVIRONMENT_NAMES["results_uri"],
            settings.results_uri,
            "on ECS: s3://bucket or s3://bucket/prefix, which every task reaches",
            instruction="Set it to the results bucket, as the storage stack outputs it (ResultsUri).",
            code="not_shared",
        )
