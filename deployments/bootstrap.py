"""Saves Pointsman's blocks on a Prefect server and deploys its flows there; repeating it changes nothing else.

Prefect is imported inside the functions because PREFECT_API_URL has to be set before.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel

from pointsman.dispatch import TargetSpec
from pointsman.errors import DependencyDown

CHECKOUT = Path(__file__).resolve().parents[1]


def save_blocks(documents: Mapping[str, tuple[str, BaseModel]]) -> None:
    """Save `{document name: (block type slug, spec)}`, overwriting only documents of these names and types.

    Raises `DependencyDown` when the server does not answer.
    """
    import httpx
    from prefect.settings import PREFECT_API_URL

    from blocks import SPEC_BLOCKS

    kinds = {kind.get_block_type_slug(): kind for kind in SPEC_BLOCKS}
    try:
        for kind in kinds.values():
            kind.register_type_and_schema()
        for key, (slug, spec) in documents.items():
            kinds[slug](spec=spec).save(key.rpartition("/")[2], overwrite=True)
    except httpx.TransportError as error:
        raise DependencyDown(
            f"The Prefect server at {PREFECT_API_URL.value()} does not answer: {error}.",
            instruction="Start it, or unset PREFECT_API_URL so that one is started here; then run the same command.",
            code="prefect_unreachable",
        ) from error


def local_pool(prefix: str) -> str:
    """The name of the process pool; the prefix sets ours apart in a Prefect that others use as well."""
    return f"{prefix}local"


def deploy_all(environment: Mapping[str, str], *, prefix: str) -> None:
    """Create the local work pool when absent and deploy every entry of prefect.yaml, all under prefixed names.

    Raises `DependencyDown` with Prefect's own words when the server refuses.
    """
    command = [sys.executable, "-m", "prefect", "--no-prompt"]
    create_pool = ("work-pool", "create", local_pool(prefix), "--type", "process", "--overwrite")
    for arguments in (create_pool, ("deploy", "--all")):
        done = subprocess.run(
            [*command, *arguments],
            cwd=CHECKOUT,
            env={**os.environ, **environment, "POINTSMAN_PREFECT_PREFIX": prefix},
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )
        if done.returncode != 0:
            raise DependencyDown(
                f"`prefect {' '.join(arguments)}` failed: {(done.stderr or done.stdout).strip()[-800:]}",
                instruction="Check PREFECT_API_URL; then run `pointsman up` again.",
                code="deploy_failed",
            )


def saved_targets() -> list[TargetSpec]:
    """The specs of every saved target block."""
    from prefect.client.orchestration import get_client

    from blocks import TargetBlock

    with get_client(sync_client=True) as client:
        documents = client.read_block_documents_by_type(TargetBlock.get_block_type_slug())
    return [TargetSpec.model_validate(document.data["spec"]) for document in documents]
