"""Where a binding takes effect: the protocol, and the gateways that follow it."""

from pointsman.routing.gateways.flagd_file import FlagdFileGateway
from pointsman.routing.gateways.protocol import Gateway
from pointsman.routing.gateways.spec import GatewaySpec

__all__ = ["FlagdFileGateway", "Gateway", "GatewaySpec"]
