"""Which gateway shows a route's bindings, as configuration."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from pointsman.routing.gateways.flagd_file import FlagdFileGateway


class GatewaySpec(BaseModel):
    """A routing gateway that is a flagd flag definition file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(
        min_length=1, title="Flag file", description="The flagd flag definition that whoever serves traffic reads."
    )

    def build(self) -> FlagdFileGateway:
        return FlagdFileGateway(Path(self.path))
