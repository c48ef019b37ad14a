"""Where results come from: the code, the machine and the process that made them."""

from __future__ import annotations

import os
import socket
from typing import Any

import pointsman
from pointsman.version import git_commit


def provenance() -> dict[str, Any]:
    """`runner_type`, `host`, `process_id`, `tool_version`, `git_sha` (null outside a checkout, with the reason)."""
    sha = git_commit()
    return {
        "runner_type": "inline",
        "host": socket.gethostname(),
        "process_id": os.getpid(),
        "tool_version": pointsman.__version__,
        "git_sha": sha,
        **({} if sha else {"missing": {"git_sha": "the code does not run from a git checkout"}}),
    }
