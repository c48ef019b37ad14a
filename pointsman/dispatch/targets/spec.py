"""Which target to dispatch to: its name, its preset, and where it is."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from pointsman.dispatch.protocol import DispatchTarget
from pointsman.dispatch.targets.async_job import AsyncJobTarget
from pointsman.dispatch.targets.policies import Host, Network
from pointsman.dispatch.targets.preset import Preset, load_preset


class TargetSpec(BaseModel):
    """A dispatch target as configuration. `base_url` is http or https and carries no credentials."""

    # A refused base_url may hold a password: errors must not repeat it.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: str = Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")
    preset: str = Field(min_length=1, description="a built-in preset (e.g. lab) or the path of a TOML file")
    base_url: str
    output_hosts: tuple[Host, ...] = Field(
        default=(),
        title="Output hosts",
        description="hosts besides the preset's where outputs may lie; .example.com is that and all below it",
        examples=[["my-bucket.s3.amazonaws.com"]],
    )
    output_networks: tuple[Network, ...] = Field(
        default=(),
        title="Output networks",
        description="address ranges that are not public and where outputs may lie all the same",
        examples=[["10.0.0.0/8"]],
    )

    @field_validator("base_url")
    @classmethod
    def _plain_http(cls, value: str) -> str:
        parts = urlsplit(value)
        try:
            port_is_legal = parts.port is None or parts.port > 0
        except ValueError:
            port_is_legal = False
        if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_legal:
            raise ValueError("allowed: http:// or https:// with a host, e.g. http://127.0.0.1:8700")
        if parts.username is not None or parts.password is not None:
            raise ValueError("credentials in a URL are not allowed; secrets come from the environment")
        if parts.query or parts.fragment:
            raise ValueError("allowed: a URL without query and fragment")
        return value.rstrip("/")

    def build(self) -> DispatchTarget:
        """The adapter for this target. Raises `NotFound` or `InputRefused` for a bad preset."""
        return AsyncJobTarget(self.open_preset())

    def open_preset(self) -> Preset:
        """Raises `NotFound` or `InputRefused`."""
        return load_preset(self.preset)
