"""Which gateway shows a route's bindings, as configuration."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pointsman.errors import InputRefused, NotFound
from pointsman.ids import RouteKey
from pointsman.routing.gateways.alb import AlbGateway, AlbSpec
from pointsman.routing.gateways.appconfig import AppConfigGateway, AppConfigSpec
from pointsman.routing.gateways.flagd_file import FlagdFileGateway
from pointsman.routing.gateways.protocol import Gateway
from pointsman.settings import AwsPlace


class GatewaySpec(BaseModel):
    """A routing gateway: exactly one of a flagd file, listener rules of a load balancer, and a hosted configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str | None = Field(
        default=None,
        min_length=1,
        title="Flag file",
        description="The flagd flag definition that whoever serves traffic reads.",
    )
    alb: AlbSpec | None = Field(default=None, title="Load balancer", description="Weighted target groups of rules.")
    appconfig: AppConfigSpec | None = Field(default=None, title="AppConfig", description="A hosted configuration.")
    region: str | None = Field(default=None, title="Region", description="Of AWS; empty: of the AWS settings.")
    local: bool = Field(default=False, title="Of the lab", description="Ask the lab's own AWS on this machine.")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if sum(one is not None for one in (self.path, self.alb, self.appconfig)) != 1:
            raise ValueError("exactly one of path, alb and appconfig")
        return self

    def place(self, key: RouteKey) -> str:
        """Where the route is shown, in a word: two that are the same change the same traffic.

        Raises `InputRefused` for a route that has no listener rule.
        """
        aws = "of the lab's AWS" if self.local else f"in {self.region}" if self.region else "of AWS"
        if self.path is not None:
            return f"the file {Path(self.path).absolute()}"
        if self.alb is not None:
            return f"the listener rule {self.alb.rule_of(key)} {aws}"
        assert self.appconfig is not None
        one = self.appconfig
        return f"the AppConfig profile {one.profile} in environment {one.environment} of {one.application} {aws}"

    def build(self) -> Gateway:
        """Raises `GuardRefused` (`not_in_the_lab`) where the lab's AWS is asked for and is not up."""
        if self.path is not None:
            return FlagdFileGateway(Path(self.path))
        from botocore.config import Config

        config = Config(connect_timeout=5, read_timeout=30, retries={"mode": "standard", "max_attempts": 3})
        aws = AwsPlace("local" if self.local else None, self.region).open()
        if self.alb is not None:
            return AlbGateway(aws.client("elbv2", config), self.alb)
        assert self.appconfig is not None
        return AppConfigGateway(aws.client("appconfig", config), self.appconfig)


def read_gateway(path: Path) -> GatewaySpec:
    """The spec in a TOML file. Raises `NotFound`, and `InputRefused` naming the first field that is wrong.

    A flag file is meant from here, wherever the process runs that will change it.
    """
    try:
        spec = GatewaySpec.model_validate(tomllib.loads(path.read_text()))
        return spec if spec.path is None else spec.model_copy(update={"path": str(Path(spec.path).absolute())})
    except OSError as error:
        raise NotFound("gateway file", str(path), f"a file that can be read ({error.strerror})") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = "gateway" + "".join(f", {part}" for part in first["loc"])
        raise InputRefused(field, first.get("input"), first["msg"].removeprefix("Value error, ")) from error
    except ValueError as error:
        raise InputRefused("gateway file", str(path), f"TOML ({error})") from error
