"""Where a binding takes effect: the protocol, and the gateways that follow it."""

from pointsman.routing.gateways.alb import AlbGateway, AlbSpec
from pointsman.routing.gateways.appconfig import AppConfigGateway, AppConfigSpec
from pointsman.routing.gateways.flagd_file import FlagdFileGateway
from pointsman.routing.gateways.protocol import Gateway, ShowsNoBinding, shown_binding
from pointsman.routing.gateways.spec import GatewaySpec, read_gateway

__all__ = [
    "AlbGateway",
    "AlbSpec",
    "AppConfigGateway",
    "AppConfigSpec",
    "FlagdFileGateway",
    "Gateway",
    "GatewaySpec",
    "ShowsNoBinding",
    "read_gateway",
    "shown_binding",
]
