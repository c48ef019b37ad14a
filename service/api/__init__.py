"""The HTTP API: JSON for other programs and dashboards."""

from service.api.app import PREFIX, create_app

__all__ = ["PREFIX", "create_app"]
