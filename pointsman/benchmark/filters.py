"""Finding the variants of a matrix by what they are, instead of by their ids."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from pointsman.benchmark.registry import list_variants
from pointsman.benchmark.runs import matrix_run
from pointsman.errors import InputRefused, NotFound
from pointsman.model import Variant
from pointsman.workspace import Workspace

_ID = r"^[A-Za-z0-9._-]{1,64}$"


class VariantFilter(BaseModel):
    """Enabled variants that match all that is given."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    effect_revision: str | None = Field(None, title="Effect revision", description="er: of their ids.", pattern=_ID)
    workflow: str | None = Field(None, title="Workflow", description="wf: of their ids.", pattern=_ID)
    environment: str | None = Field(None, title="Environment", description="env: of their ids.", pattern=_ID)
    stage: str | None = Field(None, title="Stage", description="stage: of their ids.", pattern=_ID)
    provider: str | None = Field(None, title="Provider", description="provider: of their ids.", pattern=_ID)
    experiment: str | None = Field(None, title="Experiment", description="exp: of their ids.", pattern=_ID)
    tags: tuple[str, ...] = Field((), title="Tags", description="Each of them.", max_length=20)


def discover_variants(ws: Workspace, wanted: VariantFilter, *, benchmark_id: str) -> list[Variant]:
    """The enabled variants that match; of a matrix that exists already those that it was planned with.

    Raises `InputRefused` when none matches, or variants of more than one route do.
    """
    try:
        return list(matrix_run(ws, benchmark_id).variants)
    except NotFound:
        found = list_variants(ws, enabled=True, **wanted.model_dump())
    asked = wanted.model_dump(exclude_defaults=True)
    if not found:
        raise InputRefused(
            "filters", asked, "what an enabled variant matches", instruction="See: pointsman variants list"
        )
    routes = sorted({str(one.id.route_key) for one in found})
    if len(routes) > 1:
        raise InputRefused("filters", asked, f"what variants of one route match, not of {' and '.join(routes)}")
    return found
