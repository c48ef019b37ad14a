"""Where results come from: the code, the machine and the process that made them."""

from __future__ import annotations

import json
import os
import socket
import urllib.request
from functools import cache
from typing import Any

import pointsman
from pointsman.version import git_commit

_METADATA = "ECS_CONTAINER_METADATA_URI_V4"
_DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def provenance() -> dict[str, Any]:
    """`runner_type`, `task_id`, `host`, `process_id`, `tool_version`, `git_sha`.

    `task_id` is the ARN of the task on ECS, and `git_sha` the commit of a checkout; null elsewhere, with the reason.
    """
    sha, metadata = git_commit(), os.environ.get(_METADATA)
    task = _task(metadata) if metadata else None
    missing = {} if sha else {"git_sha": "the code does not run from a git checkout"}
    if task is None:
        missing["task_id"] = "ECS did not tell it" if metadata else "this is no task on ECS"
    return {
        "runner_type": "ecs" if metadata else "inline",
        "task_id": task,
        "host": socket.gethostname(),
        "process_id": os.getpid(),
        "tool_version": pointsman.__version__,
        "git_sha": sha,
        **({"missing": missing} if missing else {}),
    }


@cache
def _task(metadata_uri: str) -> str | None:
    """The task's own ARN, which its metadata service tells."""
    try:
        with _DIRECTLY.open(f"{metadata_uri}/task", timeout=2) as answer:
            return str(json.load(answer)["TaskARN"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
