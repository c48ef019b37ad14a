"""Pointsman's block types and documents on a Prefect server.

Prefect is imported inside the functions because PREFECT_API_URL has to be set before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from deployments.changes import Change
from pointsman.dispatch import TargetSpec
from pointsman.economics import PriceBookSpec
from pointsman.errors import DependencyDown
from pointsman.quality import JudgeSpec
from pointsman.settings import Settings
from pointsman.storage import ResultsSpec

if TYPE_CHECKING:
    from prefect.blocks.core import Block
    from prefect.client.orchestration import SyncPrefectClient


def standard_documents(settings: Settings) -> dict[str, tuple[str, BaseModel]]:
    """`{document name: (block type slug, spec)}` of what flows name by default."""
    return {
        "judge/auto": ("pointsman-judge", JudgeSpec(kind="auto")),
        "judge/local": ("pointsman-judge", JudgeSpec(kind="local")),
        "judge/gemini": ("pointsman-judge", JudgeSpec(kind="gemini")),
        "prices/default": ("pointsman-price-book", PriceBookSpec()),
        "results/default": ("pointsman-results-store", ResultsSpec(uri=settings.results_uri)),
    }


def save_blocks(documents: Mapping[str, tuple[str, BaseModel]]) -> None:
    """Save `{document name: (block type slug, spec)}`, overwriting only documents of these names and types.

    Raises `DependencyDown` when the server does not answer.
    """
    from blocks import SPEC_BLOCKS

    kinds = {kind.get_block_type_slug(): kind for kind in SPEC_BLOCKS}
    with reached():
        for kind in kinds.values():
            kind.register_type_and_schema()
        for key, (slug, spec) in documents.items():
            kinds[slug](spec=spec).save(_name(key), overwrite=True)


def plan_blocks(client: SyncPrefectClient, documents: Mapping[str, tuple[str, BaseModel]]) -> list[Change]:
    """Every block type, and documents that are absent: people edit those that exist."""
    from blocks import SPEC_BLOCKS

    kinds = {kind.get_block_type_slug(): kind for kind in SPEC_BLOCKS}
    planned = [_plan_type(client, kind) for kind in kinds.values()]
    for key, (slug, spec) in documents.items():
        planned.append(_plan_document(client, kinds[slug], _name(key), spec))
    return planned


def _plan_type(client: SyncPrefectClient, kind: type[Block]) -> Change:
    from prefect.exceptions import ObjectNotFound

    slug = kind.get_block_type_slug()
    try:
        found = client.read_block_type_by_slug(slug)
    except ObjectNotFound:
        return Change("block type", slug, "create", make=kind.register_type_and_schema)
    if found.name != kind.get_block_type_name():
        return Change("block type", slug, "refuse", f"somebody else made it, as {found.name!r}")
    try:
        client.read_block_schema_by_checksum(kind._calculate_schema_checksum())
    except ObjectNotFound:
        return Change("block type", slug, "update", "its fields differ", kind.register_type_and_schema)
    return Change("block type", slug, "keep")


def _plan_document(client: SyncPrefectClient, kind: type[Block], name: str, spec: BaseModel) -> Change:
    from prefect.exceptions import ObjectNotFound

    slug = kind.get_block_type_slug()
    shown = f"{slug}/{name}"
    try:
        found = client.read_block_document_by_name(name, slug)
    except ObjectNotFound:
        wanted: Any = kind
        return Change("block", shown, "create", make=lambda: wanted(spec=spec).save(name))
    if found.data.get("spec") == spec.model_dump(mode="json"):
        return Change("block", shown, "keep")
    return Change("block", shown, "leave", "somebody changed it")


def saved_targets() -> list[TargetSpec]:
    """The specs of every saved target block."""
    from prefect.client.orchestration import get_client

    from blocks import TargetBlock

    with get_client(sync_client=True) as client:
        documents = client.read_block_documents_by_type(TargetBlock.get_block_type_slug())
    return [TargetSpec.model_validate(document.data["spec"]) for document in documents]


@contextmanager
def reached() -> Iterator[None]:
    """Raises `DependencyDown` where a Prefect server did not answer or did not take what it was sent."""
    import httpx
    from prefect.exceptions import PrefectHTTPStatusError
    from prefect.settings import PREFECT_API_URL

    try:
        yield
    except httpx.TransportError as error:
        raise DependencyDown(
            f"The Prefect server at {PREFECT_API_URL.value()} does not answer: {error}.",
            instruction="Start it, or unset PREFECT_API_URL so that one is started here; then run the same command.",
            code="prefect_unreachable",
        ) from error
    except PrefectHTTPStatusError as error:
        raise DependencyDown(
            f"The Prefect server at {PREFECT_API_URL.value()} did not take it: {str(error)[:600]}.",
            instruction="Mend what it names, then run the same command again.",
            code="prefect_refused",
        ) from error


def _name(key: str) -> str:
    return key.rpartition("/")[2]
