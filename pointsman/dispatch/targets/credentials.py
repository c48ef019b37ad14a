"""The headers that every request to a target carries: the preset's own, and its key, which is a secret."""

from __future__ import annotations

from collections.abc import Mapping

from pointsman.dispatch.targets.preset import Preset
from pointsman.errors import InputRefused
from pointsman.settings import Secret

SECRET_HEADER = "X-Studio-Executor-Secret"
EXECUTOR_VARIABLE = "STUDIO_EXECUTOR_SECRET"


def secret_variables(preset: Preset) -> tuple[str, ...]:
    """The environment variables whose values a driver of this preset needs."""
    executor = (EXECUTOR_VARIABLE,) if preset.capabilities.needs_executor_secret else ()
    return (*executor, preset.credential.variable) if preset.credential is not None else executor


def target_headers(preset: Preset, secrets: Mapping[str, Secret]) -> dict[str, Secret]:
    """Header values by name, all treated as secrets. Raises `InputRefused` for a key that no header can carry."""
    headers = {name: Secret(value) for name, value in preset.headers.items()}
    for variable in secret_variables(preset):
        if variable in secrets:
            _check(variable, secrets[variable])
    if preset.capabilities.needs_executor_secret and EXECUTOR_VARIABLE in secrets:
        headers[SECRET_HEADER] = secrets[EXECUTOR_VARIABLE]
    credential = preset.credential
    if credential is not None and credential.variable in secrets:
        key = secrets[credential.variable].reveal()
        headers[credential.header] = Secret(credential.value.replace("$secret", key))
    return headers


def _check(variable: str, secret: Secret) -> None:
    value = secret.reveal()
    if not value.isascii() or not value.isprintable() or not value:
        raise InputRefused(variable, "(hidden)", "printable ASCII characters")
