"""The templates as one team would deploy them, rendered once."""

from __future__ import annotations

import pytest

from tests.deployments.rendering import Rendered, render

EVERYTHING = {
    "Team": "media",
    "ImageTag": "0123abc",
    "AlertEmail": "team@example.com",
    "DevWorkers": 1,
    "TestGroup": "yes",
    "GitHubRepository": "acme/effects",
}


@pytest.fixture(scope="session")
def stacks() -> dict[str, Rendered]:
    """Every stack with all options on, by path: `Storage`, `Prod/Roles`."""
    return dict(render("main", EVERYTHING).walk())
