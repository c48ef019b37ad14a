"""Which code this is: the version, with the commit when it runs from its own checkout or from an image."""

from __future__ import annotations

import os
import re
import subprocess
from functools import cache
from pathlib import Path

from pointsman import __version__


@cache
def git_commit() -> str | None:
    """The commit of the checkout that the code runs from; None where it runs from none, or git cannot tell.

    An image holds no checkout: it is built with the commit in `POINTSMAN_COMMIT`.
    """
    return _of_checkout() or _of_image()


def _of_checkout() -> str | None:
    package = Path(__file__).resolve().parent
    try:
        asked = subprocess.run(
            ["git", "rev-parse", "--show-toplevel", "HEAD"],
            cwd=package,
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    top, sha = asked.stdout.splitlines()
    # An installed copy may lie in the checkout of something else.
    return sha if Path(top).resolve() == package.parent else None


def _of_image() -> str | None:
    given = os.environ.get("POINTSMAN_COMMIT", "")
    return given if re.fullmatch("[0-9a-f]{40}", given) else None


def code_version() -> str:
    """`0.1.0+g<12 digits of the commit>`, or `0.1.0` where no commit is known."""
    commit = git_commit()
    return f"{__version__}+g{commit[:12]}" if commit else __version__
