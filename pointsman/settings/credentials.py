"""Keys of other people's APIs: each preset names the variable that holds its own."""

from __future__ import annotations

import os
from collections.abc import Mapping

from pointsman.settings.resolver import Secret, load_settings


def load_credential(variable: str, environ: Mapping[str, str] | None = None) -> Secret | None:
    """From the environment variable, else from the file `secrets/<variable>` in the home folder; None without either.

    The file serves processes that somebody else starts, such as Prefect's workers.
    """
    environ = os.environ if environ is None else environ
    if environ.get(variable):
        return Secret(environ[variable])
    path = load_settings(environ).home / "secrets" / variable
    return Secret(path.read_text().strip()) if path.is_file() else None
