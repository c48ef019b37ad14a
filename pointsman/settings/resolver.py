"""One resolver for every setting: explicit, then environment, then `config.toml` in the home folder, then default.

It asks nothing of AWS: what Secrets Manager may know is looked up where it is needed, by `load_credential`.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from pointsman.errors import InputRefused
from pointsman.settings.secret import Secret


@dataclass(frozen=True, slots=True)
class Settings:
    """What CONTRACTS lists under Settings, as far as this version reads it."""

    home: Path
    database_url: str = field(repr=False)
    """It may hold a password."""
    results_uri: str
    checks: str
    """The folder with one's own rules for data checks."""
    environment: str | None
    """Whose secrets, `load-test/<environment>/...`, this process looks for in Secrets Manager; None = nobody's."""
    executor_secret: Secret | None
    gemini_api_key: Secret | None
    gemini_model: str
    gemini_base_url: str | None
    prefect_prefix: str
    runner_mode: str
    """Where a load test is driven: `inline`, or `ecs`: by tasks that share only the database and the results store."""
    runner_pool: str | None
    """Work pool, without the prefix, whose workers drive the shards of load tests; None = whoever coordinates does."""
    runner_cluster: str
    """Where the tasks of shards and chunks run, if not where the work pool says; each empty for the pool's own."""
    runner_subnets: str
    runner_security_groups: str
    runner_task_definition: str
    runner_log_group: str
    token: Secret | None
    """Says who acts. Without it, the user of the operating system does."""
    max_dispatches: int
    max_in_flight: int
    max_run_usd: Decimal
    max_month_usd: Decimal
    approval_limit_usd: Decimal
    max_production_per_s: Decimal
    max_production_run_usd: Decimal
    target_role_arn: str | None
    """The role that staging and production are looked at with, when they are in another AWS account."""
    target_external_id: str | None
    """What that account has agreed to; set together with the role."""
    production_accounts: str
    """What load tests against production may touch, each a list with commas; empty = nothing."""
    production_regions: str
    production_clusters: str
    production_groups: str
    production_alarms: str
    """CloudWatch alarms that no load test against production may begin or go on with."""

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """Those that are set: what no output may hold."""
        values = [getattr(self, one.name) for one in fields(self)]
        return tuple(value for value in values if isinstance(value, Secret))


ENVIRONMENT_NAMES: Mapping[str, str] = {
    "home": "POINTSMAN_HOME",
    "database_url": "POINTSMAN_DATABASE_URL",
    "results_uri": "POINTSMAN_RESULTS_URI",
    "checks": "POINTSMAN_CHECKS",
    "environment": "POINTSMAN_ENVIRONMENT",
    "executor_secret": "STUDIO_EXECUTOR_SECRET",
    "gemini_api_key": "GEMINI_API_KEY",
    "gemini_model": "POINTSMAN_GEMINI_MODEL",
    "gemini_base_url": "POINTSMAN_GEMINI_BASE_URL",
    "prefect_prefix": "POINTSMAN_PREFECT_PREFIX",
    "runner_mode": "STUDIO_LOAD_TEST_RUNNER_MODE",
    "runner_pool": "STUDIO_LOAD_TEST_RUNNER_POOL",
    "runner_cluster": "STUDIO_LOAD_TEST_RUNNER_CLUSTER",
    "runner_subnets": "STUDIO_LOAD_TEST_RUNNER_SUBNETS",
    "runner_security_groups": "STUDIO_LOAD_TEST_RUNNER_SECURITY_GROUPS",
    "runner_task_definition": "STUDIO_LOAD_TEST_RUNNER_TASK_DEFINITION",
    "runner_log_group": "STUDIO_LOAD_TEST_RUNNER_LOG_GROUP",
    "token": "POINTSMAN_TOKEN",
    "max_dispatches": "POINTSMAN_MAX_DISPATCHES",
    "max_in_flight": "POINTSMAN_MAX_IN_FLIGHT",
    "max_run_usd": "POINTSMAN_MAX_RUN_USD",
    "max_month_usd": "POINTSMAN_MAX_MONTH_USD",
    "approval_limit_usd": "POINTSMAN_APPROVAL_LIMIT_USD",
    "max_production_per_s": "POINTSMAN_MAX_PRODUCTION_PER_S",
    "max_production_run_usd": "POINTSMAN_MAX_PRODUCTION_RUN_USD",
    "target_role_arn": "POINTSMAN_TARGET_ROLE_ARN",
    "target_external_id": "POINTSMAN_TARGET_EXTERNAL_ID",
    "production_accounts": "POINTSMAN_PRODUCTION_ACCOUNTS",
    "production_regions": "POINTSMAN_PRODUCTION_REGIONS",
    "production_clusters": "POINTSMAN_PRODUCTION_CLUSTERS",
    "production_groups": "POINTSMAN_PRODUCTION_GROUPS",
    "production_alarms": "POINTSMAN_PRODUCTION_ALARMS",
}
_ENVIRONMENT = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]{1,512}\Z", re.ASCII)
_MODES = ("inline", "ecs")
_PLACES = ("runner_cluster", "runner_subnets", "runner_security_groups", "runner_task_definition", "runner_log_group")
_PREFIX = re.compile(r"[A-Za-z0-9._-]{0,40}\Z")
SECRETS = frozenset({"executor_secret", "gemini_api_key", "token"})
_MOST = 10**9
"""No limit is larger: a slip of the finger must not switch it off."""


def load_settings(environ: Mapping[str, str] | None = None, **explicit: Any) -> Settings:
    """Resolve all settings. Raises `InputRefused` for unknown names, bad values and an unreadable `config.toml`.

    The executor secret also comes from the file `secrets/executor` in the home folder, which `pointsman up` writes
    (mode 600) for the lab it starts.
    """
    environ = os.environ if environ is None else environ
    unknown = set(explicit) - {one.name for one in fields(Settings)}
    if unknown:
        raise InputRefused("setting", sorted(unknown)[0], ", ".join(ENVIRONMENT_NAMES))
    home = Path(str(explicit.get("home") or environ.get("POINTSMAN_HOME") or ".pointsman")).absolute()
    from_file = _read_file(home / "config.toml")

    def resolve(name: str, default: str | None) -> Any:
        value = explicit.get(name)
        if value is None:
            value = environ.get(ENVIRONMENT_NAMES[name]) or from_file.get(name)
        if value is None:
            value = default
        return Secret(str(value)) if name in SECRETS and value is not None and not isinstance(value, Secret) else value

    prefix = resolve("prefect_prefix", "")
    if not _PREFIX.match(prefix):
        raise InputRefused(ENVIRONMENT_NAMES["prefect_prefix"], prefix, "at most 40 letters, digits, '.', '_' and '-'")
    environment = resolve("environment", None)
    if environment is not None and not _ENVIRONMENT.match(environment):
        allowed = "a name such as dev, uat or prod: at most 64 letters, digits, '.', '_' and '-'"
        raise InputRefused(ENVIRONMENT_NAMES["environment"], environment, allowed)

    mode = resolve("runner_mode", "inline")
    if mode not in _MODES:
        raise InputRefused(ENVIRONMENT_NAMES["runner_mode"], mode, " or ".join(_MODES))

    role, external_id = resolve("target_role_arn", None), resolve("target_external_id", None)
    if role is not None and not _ROLE.match(role):
        allowed = "the ARN of a role, arn:aws:iam::ACCOUNT:role/NAME"
        raise InputRefused(ENVIRONMENT_NAMES["target_role_arn"], role, allowed)
    if (role is None) != (external_id is None):
        missing = "target_role_arn" if role is None else "target_external_id"
        raise InputRefused(ENVIRONMENT_NAMES[missing], None, "set where the other of role and external id is")

    def limit(name: str, default: str) -> Decimal:
        given = resolve(name, default)
        allowed = f"a number from 0 to {_MOST:,}"
        try:
            found = Decimal(str(given))
        except InvalidOperation as error:
            raise InputRefused(ENVIRONMENT_NAMES[name], given, allowed) from error
        if not found.is_finite() or not 0 <= found <= _MOST:
            raise InputRefused(ENVIRONMENT_NAMES[name], given, allowed)
        return found

    def count(name: str, default: str) -> int:
        found = limit(name, default)
        if found != int(found):
            raise InputRefused(ENVIRONMENT_NAMES[name], str(found), f"a whole number from 0 to {_MOST:,}")
        return int(found)

    executor_file = home / "secrets" / "executor"
    return Settings(
        home=home,
        database_url=resolve("database_url", f"sqlite:///{home / 'pointsman.db'}"),
        results_uri=resolve("results_uri", str(home / "results")),
        checks=resolve("checks", str(home / "checks")),
        environment=environment,
        executor_secret=resolve(
            "executor_secret", executor_file.read_text().strip() if executor_file.is_file() else None
        ),
        gemini_api_key=resolve("gemini_api_key", None),
        gemini_model=resolve("gemini_model", "gemini-2.5-flash"),
        gemini_base_url=resolve("gemini_base_url", None),
        prefect_prefix=prefix,
        runner_mode=mode,
        runner_pool=resolve("runner_pool", "ecs" if mode == "ecs" else None),
        **{name: resolve(name, "") for name in _PLACES},
        token=resolve("token", None),
        max_dispatches=count("max_dispatches", "100000"),
        max_in_flight=count("max_in_flight", "10000"),
        max_run_usd=limit("max_run_usd", "500"),
        max_month_usd=limit("max_month_usd", "2000"),
        approval_limit_usd=limit("approval_limit_usd", "50"),
        max_production_per_s=limit("max_production_per_s", "5"),
        max_production_run_usd=limit("max_production_run_usd", "50"),
        target_role_arn=role,
        target_external_id=external_id,
        **{name: resolve(name, "") for name in ENVIRONMENT_NAMES if name.startswith("production_")},
    )


def _read_file(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputRefused("config.toml", str(path), f"TOML ({error})") from error
    allowed = [name for name in ENVIRONMENT_NAMES if name != "home"]  # the file lies in the home it would name
    unknown = sorted(set(found) - set(allowed))
    if unknown:
        raise InputRefused(f"{path}, setting", unknown[0], ", ".join(allowed))
    for name, value in found.items():
        if not isinstance(value, str):
            raise InputRefused(f"{path}, setting {name}", type(value).__name__, "text in quotes")
    return found
