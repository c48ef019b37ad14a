"""The least that a worker can be asked to run."""

import os

from prefect import flow


@flow
def trivial() -> str:
    """Its answer: the task that it runs in."""
    return os.environ["ECS_CONTAINER_METADATA_URI_V4"]
