"""Secrets and addresses that differ by environment: given, in the environment, in a file, or in Secrets Manager.

They are looked for in that order, and when something needs them: the keys of other people's APIs (each preset names the
variable that holds its own), the executor's secret, the judge's key, and where an environment's targets listen.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pointsman.errors import DependencyDown, InputRefused, NotConfigured
from pointsman.model import Missing
from pointsman.settings.resolver import ENVIRONMENT_NAMES, SECRETS, Settings, load_settings
from pointsman.settings.secret import Secret
from pointsman.settings.secrets_manager import SecretsManager, of_this_process

_TARGET_ENVIRONMENTS = ("dev", "uat", "prod")
_EXECUTOR = "STUDIO_EXECUTOR_SECRET"
_OTHER_FILES: Mapping[str, str] = {_EXECUTOR: "executor"}
_OTHER_NAMES: Mapping[str, str] = {_EXECUTOR: "executor-secret"}
_HANDED_OUT: set[Secret] = set()
_SETTING_OF: Mapping[str, str] = {ENVIRONMENT_NAMES[name]: name for name in SECRETS}


@dataclass(frozen=True, slots=True)
class _Wanted:
    """One value by its names: the first is its own, the others are aliases."""

    variables: tuple[str, ...]
    environment: str | None
    """Whose secrets may be asked for."""
    secrets: tuple[str, ...]
    """Their names in Secrets Manager, after `load-test/<environment>/`."""

    @property
    def keys(self) -> tuple[str, ...]:
        """Where a JSON secret may hold it."""
        return (*self.variables, *self.secrets)


@dataclass(frozen=True, slots=True)
class _Looked:
    """The value, if any, and the places that were looked at, in order. No place's name holds a value."""

    value: Secret | None
    tried: tuple[str, ...]


def load_credential(
    variable: str, environ: Mapping[str, str] | None = None, *, given: Secret | None = None
) -> Secret | None:
    """`given`, else from the environment variable, else from the file `secrets/<variable>` in the home folder, else
    from Secrets Manager: `load-test/<POINTSMAN_ENVIRONMENT>/<variable in small letters and dashes>`, as text or as the
    value of the key `<variable>` of a JSON object. None when it is nowhere.

    The file serves processes that somebody else starts, such as Prefect's workers. Raises `DependencyDown` when Secrets
    Manager, and nothing before it, may know the secret and does not answer.
    """
    return _look(_credential(variable, environ), environ, given).value


def require_credential(
    variable: str, purpose: str, environ: Mapping[str, str] | None = None, *, given: Secret | None = None
) -> Secret:
    """The same. Raises `NotConfigured`, which names every place in the order of looking, when it is nowhere."""
    looked = _look(_credential(variable, environ), environ, given)
    if looked.value is None:
        raise NotConfigured(variable, purpose, looked.tried, instruction=_advice(variable))
    return looked.value


def load_target_url(environment: str, environ: Mapping[str, str] | None = None, *, given: str | None = None) -> str:
    """Where the targets of this environment listen: `given`, else `TARGET_URL_<ENVIRONMENT>` or its alias
    `RELAY_URL_<ENVIRONMENT>`, as a variable or a file of that name, else Secrets Manager's
    `load-test/<environment>/target-url` or its alias `relay-url`.

    Raises `InputRefused` for an environment that is none of dev, uat and prod; `NotConfigured`; and `DependencyDown`.
    """
    if environment not in _TARGET_ENVIRONMENTS:
        raise InputRefused("environment", environment, ", ".join(_TARGET_ENVIRONMENTS))
    variables = (f"TARGET_URL_{environment.upper()}", f"RELAY_URL_{environment.upper()}")
    wanted = _Wanted(variables, environment, ("target-url", "relay-url"))
    looked = _look(wanted, environ, Secret(given) if given else None)
    if looked.value is None:
        purpose = f"where the targets of {environment} listen"
        raise NotConfigured(variables[0], purpose, looked.tried, instruction=_advice(variables[0]))
    return looked.value.reveal()


def handed_out() -> frozenset[Secret]:
    """Every secret that this process has looked up so far: what no output of it may hold."""
    return frozenset(_HANDED_OUT)


def _credential(variable: str, environ: Mapping[str, str] | None) -> _Wanted:
    name = _OTHER_NAMES.get(variable) or variable.lower().replace("_", "-")
    return _Wanted((variable,), load_settings(environ).environment, (name,))


def _look(wanted: _Wanted, environ: Mapping[str, str] | None, given: Secret | None) -> _Looked:
    tried: list[str] = []
    for place, found in _places(wanted, environ, given):
        if isinstance(found, Secret):
            value = Secret(found.reveal().strip())
            if value.reveal():
                _HANDED_OUT.add(value)
                return _Looked(value, ())
            found = Missing("empty")
        tried.append(f"{place} ({found.reason})" if found.reason else place)
    return _Looked(None, tuple(tried))


def _places(
    wanted: _Wanted, environ: Mapping[str, str] | None, given: Secret | None
) -> Iterator[tuple[str, Secret | Missing]]:
    """Every place and what is there, from one to the next only when somebody asks on."""
    environ = os.environ if environ is None else environ
    yield "what was given", given or Missing("")
    for variable in wanted.variables:
        text = environ.get(variable)
        yield f"the environment variable {variable}", Secret(text) if text is not None else Missing("")
    settings = load_settings(environ)
    for variable in wanted.variables:
        if variable in _SETTING_OF:
            yield f"{_SETTING_OF[variable]} in config.toml", _configured(settings, variable)
        for name in filter(None, (variable, _OTHER_FILES.get(variable))):
            path = settings.home / "secrets" / name
            yield f"the file {path}", Secret(path.read_text()) if path.is_file() else Missing("")
    if wanted.environment is None:
        yield "Secrets Manager", Missing("not asked: POINTSMAN_ENVIRONMENT is not set")
        return
    for name in wanted.secrets:
        full = f"load-test/{wanted.environment}/{name}"
        yield f"{full} in Secrets Manager", _kept(of_this_process(), full, wanted)


def _configured(settings: Settings, variable: str) -> Secret | Missing:
    found = getattr(settings, _SETTING_OF[variable])
    return found if isinstance(found, Secret) else Missing("")


def _kept(manager: SecretsManager, name: str, wanted: _Wanted) -> Secret | Missing:
    try:
        told = manager.read(name)
    except DependencyDown as error:
        instead = f"or set {wanted.variables[0]}, which is looked at before it."
        raise DependencyDown(error.message, instruction=f"{error.instruction}, {instead}", code=error.code) from None
    if isinstance(told, Missing):
        return told
    try:
        document = json.loads(told.reveal())
    except ValueError:
        return told
    if not isinstance(document, dict):
        return told
    texts = [document[key] for key in wanted.keys if isinstance(document.get(key), str)]
    return Secret(texts[0]) if texts else Missing(f"JSON without a text under {' or '.join(wanted.keys)}")


def _advice(variable: str) -> str:
    return (
        f"Set {variable}, or write the value into the file secrets/{variable} of POINTSMAN_HOME (mode 600), or put it "
        "into Secrets Manager and set POINTSMAN_ENVIRONMENT."
    )
