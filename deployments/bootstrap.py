"""Puts Pointsman on a Prefect server: pools, blocks, a limit, automations, and every flow of prefect.yaml.

    python -m deployments.bootstrap --dry-run
    python -m deployments.bootstrap --pool ecs --variable environment=dev --variable team=media \\
        --variable task_definition_arn=load-test-dev --notify slack-webhook/operators

It changes the server that PREFECT_API_URL names. POINTSMAN_PREFECT_PREFIX is put before the names of all that it makes
except blocks. Everything is planned and printed before anything is written, and repeating it changes nothing.

- **What is ours** carries a mark in its description, or the tag `pointsman` (deployments), and is put back to what is
  declared here and in prefect.yaml. Where something of the same name lacks it nothing is written at all: it is named.
- **What people tune** is made once and then left as it is: block documents, and how many load tests go on at once.
- **A team's own pool**, `--pool ecs=their-pool`, is deployed to and never written.

Prefect is imported inside the functions because PREFECT_API_URL has to be set before.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from deployments.blocks import plan_blocks, reached, standard_documents
from deployments.changes import Change, refuse
from pointsman.errors import DependencyDown, InputRefused, NotFound, PointsmanError
from pointsman.settings import load_settings

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient

    from deployments.pools import Pool

CHECKOUT = Path(__file__).resolve().parents[1]
PREFIX_PLACEHOLDER = "{{ $POINTSMAN_PREFECT_PREFIX }}"
_POOLS: tuple[Pool, ...] = ("local", "ecs")
_DEPLOY_WITHIN_S = 300


@dataclass(frozen=True)
class Installation:
    """What a Prefect server is to have of Pointsman."""

    prefix: str = ""
    pools: Mapping[Pool, str | None] = field(default_factory=lambda: {"local": None})
    """Those to deploy to, each with the name of a team's own pool where it is not ours."""
    variables: Mapping[str, Any] = field(default_factory=dict)
    """Defaults of job variables of our own pool `ecs`."""
    notify: str | None = None
    """The notification block, `type/name`, that hears of critical events."""
    propose: str | None = None
    """The target block that serves routes, where a matrix that ends is to be judged and a binding proposed."""

    def pool(self, pool: Pool) -> str:
        """The name of the work pool."""
        return self.pools.get(pool) or f"{self.prefix}{pool}"


def plan(client: SyncPrefectClient, wanted: Installation) -> list[Change]:
    """What `bootstrap` would do. Raises `InputRefused` and `NotFound` for what cannot be."""
    from deployments.automations import plan_automation, wanted_automations
    from deployments.pools import plan_load_test_limit, plan_pool, plan_pool_of_a_team

    planned: list[Change] = []
    for pool, of_a_team in wanted.pools.items():
        if of_a_team:
            planned.append(plan_pool_of_a_team(client, pool, of_a_team))
        else:
            planned.append(plan_pool(client, pool, wanted.pool(pool), wanted.variables))
    planned += plan_blocks(client, standard_documents(load_settings()))
    planned.append(plan_load_test_limit(client, f"{wanted.prefix}load-test"))
    names = [f"{wanted.prefix}{pool}" for pool in wanted.pools]
    for automation in wanted_automations(wanted.prefix, names, _notification_block(client, wanted.notify)):
        planned.append(plan_automation(client, automation))
    return [*planned, *_plan_deployments(client, wanted)]


def plan_proposing(client: SyncPrefectClient, wanted: Installation) -> list[Change]:
    """The automations that start deployments, which have to be there for it; before they are, what would be made."""
    from prefect.exceptions import ObjectNotFound

    from deployments.automations import plan_automation, proposing

    planned = []
    if wanted.propose is None:
        return []
    for pool in wanted.pools:
        name = f"{wanted.prefix}{pool}"
        try:
            deployment = client.read_deployment_by_name(f"propose-routing/{name}").id
        except ObjectNotFound:
            deployment = None
        planned.append(plan_automation(client, proposing(wanted.prefix, name, deployment, wanted.propose)))
    return planned


def bootstrap(
    wanted: Installation,
    environment: Mapping[str, str],
    *,
    dry_run: bool = False,
    show: Callable[[Change], None] = lambda change: None,
) -> None:
    """Plan, show and, unless it is a dry run, write all that is wanted; `environment` is for the process that deploys.

    Raises `Conflict` before anything is written where something of the same name is somebody else's, and
    `DependencyDown` with Prefect's own words where the server is out of reach or refuses.
    """
    from prefect.client.orchestration import get_client

    with reached(), get_client(sync_client=True) as client:
        planned, proposing = plan(client, wanted), plan_proposing(client, wanted)
        for change in (*planned, *proposing):
            show(change)
        refuse((*planned, *proposing))
        if dry_run:
            return
        for change in planned:
            if change.make is not None:
                change.make()
    _deploy(wanted, environment)
    with reached(), get_client(sync_client=True) as client:
        for change in plan_proposing(client, wanted):
            if change.make is not None:
                change.make()


def local_pool(prefix: str) -> str:
    """The name of the process pool; the prefix sets ours apart in a Prefect that others use as well."""
    return f"{prefix}local"


def _plan_deployments(client: SyncPrefectClient, wanted: Installation) -> list[Change]:
    from prefect.exceptions import ObjectNotFound

    planned = []
    for entry in yaml.safe_load((CHECKOUT / "prefect.yaml").read_text())["deployments"]:
        pool = entry["name"].removeprefix(PREFIX_PLACEHOLDER)
        if pool not in wanted.pools:
            continue
        flow = Path(entry["entrypoint"].partition(":")[0]).stem.replace("_", "-")
        name = f"{flow}/{wanted.prefix}{pool}"
        try:
            found = client.read_deployment_by_name(name)
        except ObjectNotFound:
            planned.append(Change("deployment", name, "create"))
            continue
        if "pointsman" in found.tags:
            planned.append(Change("deployment", name, "update", "as prefect.yaml says"))
        else:
            planned.append(Change("deployment", name, "refuse", "somebody else made it"))
    return planned


def _deploy(wanted: Installation, environment: Mapping[str, str]) -> None:
    every = set(wanted.pools) == set(_POOLS)
    # Prefect compares names before it fills them in.
    which = ["--all"] if every else [f"--name={PREFIX_PLACEHOLDER}{pool}" for pool in wanted.pools]
    variables = {
        "POINTSMAN_CHECKOUT": str(CHECKOUT),
        "POINTSMAN_PREFECT_PREFIX": wanted.prefix,
        **{f"POINTSMAN_POOL_{pool.upper()}": wanted.pool(pool) for pool in _POOLS},
    }
    try:
        done = subprocess.run(
            [sys.executable, "-m", "prefect", "--no-prompt", "deploy", *which],
            cwd=CHECKOUT,
            env={**os.environ, **environment, **variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=_DEPLOY_WITHIN_S,
        )
        failure = (done.stderr or done.stdout).strip()[-800:] if done.returncode else None
    except subprocess.TimeoutExpired:
        failure = f"it was not done within {_DEPLOY_WITHIN_S} seconds."
    if failure is not None:
        raise DependencyDown(
            f"`prefect deploy {' '.join(which)}` failed: {failure}",
            instruction="Check PREFECT_API_URL; then run the same command again.",
            code="deploy_failed",
        )


def _notification_block(client: SyncPrefectClient, named: str | None) -> UUID | None:
    if named is None:
        return None
    from prefect.exceptions import ObjectNotFound

    kind, _, name = named.partition("/")
    try:
        return client.read_block_document_by_name(name, kind).id
    except ObjectNotFound as error:
        raise NotFound(
            "--notify",
            named,
            "TYPE/NAME of a saved notification block, such as slack-webhook/operators",
            instruction="`prefect block ls` lists what is saved; the Prefect UI saves one under Blocks.",
        ) from error


def _installation(argv: Sequence[str]) -> tuple[Installation, bool]:
    parser = argparse.ArgumentParser(prog="python -m deployments.bootstrap", description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--pool",
        action="append",
        metavar="local|ecs[=POOL]",
        help="deploy on this pool, by default both; POOL is a team's own",
    )
    parser.add_argument(
        "--variable",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="default of a job variable of the pool ecs; VALUE may be JSON",
    )
    parser.add_argument("--notify", metavar="TYPE/NAME", help="the notification block that hears of critical events")
    parser.add_argument(
        "--propose",
        nargs="?",
        const="lab",
        metavar="TARGET",
        help="judge every matrix that a deployment ran on its own, and propose a binding; TARGET is the block of the "
        "target that serves routes, by default lab",
    )
    parser.add_argument("--dry-run", action="store_true", help="print what would change, and change nothing")
    asked = parser.parse_args(argv)
    pools: dict[Pool, str | None] = {}
    for one in asked.pool or _POOLS:
        pool, _, of_a_team = one.partition("=")
        if pool not in _POOLS:
            raise InputRefused("--pool", one, "local, ecs, local=POOL or ecs=POOL")
        pools[pool] = of_a_team or None
    variables = {}
    for one in asked.variable:
        name, is_there, text = one.partition("=")
        if not is_there:
            raise InputRefused("--variable", one, "NAME=VALUE")
        try:
            variables[name] = json.loads(text)
        except ValueError:
            variables[name] = text
    prefix = load_settings().prefect_prefix
    return Installation(prefix, pools, variables, asked.notify, asked.propose), asked.dry_run


def main(argv: Sequence[str]) -> int:
    """Run with these arguments; the exit code of CONTRACTS."""
    try:
        wanted, dry_run = _installation(argv)
        bootstrap(wanted, {}, dry_run=dry_run, show=print)
    except PointsmanError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
