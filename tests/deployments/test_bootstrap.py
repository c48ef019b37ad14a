"""Bootstrapping a real Prefect server: all of it, again without a change, and never what somebody else made."""

from __future__ import annotations

import shlex
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from prefect import flow
from prefect.blocks.core import Block
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate, WorkPoolCreate, WorkPoolUpdate
from prefect.events.actions import DoNothing
from prefect.events.schemas.automations import AutomationCore, EventTrigger
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from blocks import SPEC_BLOCKS, JudgeBlock, PrefectEventSink
from deployments.bootstrap import Installation, _deploy, bootstrap, plan
from deployments.bootstrap import main as bootstrap_command
from deployments.changes import Change
from deployments.ecs import ecs_template
from pointsman.errors import Conflict, DependencyDown, InputRefused, NotFound
from pointsman.quality import JudgeSpec
from tests.actions.sink_contract import event
from tests.deployments.rendering import load
from tests.deployments.schemas import deployments, flow_of
from tests.docs.pages import TEXT
from tests.few_inputs import free_ports
from tests.lab.running import eventually
from tests.world import LabWorld

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("world")]

TASKS = {"image": "registry/pointsman:1", "execution_role_arn": "arn:aws:iam::123456789012:role/execution"}
BOTH: dict[Any, str | None] = {"local": None, "ecs": None}


@pytest.fixture
def client(lab_world: LabWorld) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as opened:
        yield opened


def planned(client: SyncPrefectClient, wanted: Installation) -> dict[str, Change]:
    return {f"{one.kind} {one.name}": one for one in plan(client, wanted)}


def does(client: SyncPrefectClient, wanted: Installation) -> dict[str, str]:
    return {name: change.does for name, change in planned(client, wanted).items()}


def do(change: Change) -> None:
    assert change.make is not None
    change.make()


def state_of(client: SyncPrefectClient) -> list[Any]:
    """Everything that bootstrapping writes, but for when it was written."""
    limits = client.read_global_concurrency_limits(limit=200, offset=0)
    kept = [client.read_work_pools(limit=200), client.read_automations(), client.read_block_types(), limits]
    kept += [client.read_block_schemas(), client.read_block_documents(limit=200), client.read_deployments(limit=200)]
    of_workers = {"status", "last_polled"}
    return [
        sorted((_timeless(one.model_dump(mode="json", exclude=of_workers)) for one in found), key=lambda one: one["id"])
        for found in kept
    ]


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _timeless(one) for name, one in value.items() if name != "updated"}
    return [_timeless(one) for one in value] if isinstance(value, list) else value


def test_everything_is_deployed_on_both_pools_and_repeating_it_changes_nothing(
    lab_world: LabWorld, client: SyncPrefectClient
) -> None:
    """Without Docker, an AWS or a worker."""
    wanted = Installation("twice-", BOTH, {**TASKS, "team": "media"})
    environment = {"PREFECT_API_URL": lab_world.world.prefect_api_url or ""}
    bootstrap(wanted, environment)
    found = {f"{one.name}": one for one in client.read_work_pools() if one.name.startswith("twice-")}
    assert {(name, one.type) for name, one in found.items()} == {("twice-local", "process"), ("twice-ecs", "ecs")}
    properties = found["twice-ecs"].base_job_template["variables"]["properties"]
    assert (properties["image"]["default"], properties["team"]["default"]) == (TASKS["image"], "media")
    for entry in deployments():
        pool = entry["name"].rpartition("}}")[2]
        deployed = client.read_deployment_by_name(f"{flow_of(entry).name}/twice-{pool}")
        assert deployed.work_pool_name == f"twice-{pool}"
        assert deployed.tags == ["pointsman", f"pointsman-pool:twice-{pool}"]
        assert deployed.job_variables == entry["work_pool"]["job_variables"]
        assert deployed.enforce_parameter_schema
        assert "{{" not in deployed.model_dump_json(include={"name", "work_pool_name", "tags", "pull_steps"})
    before = state_of(client)
    bootstrap(wanted, environment)
    assert state_of(client) == before
    assert set(does(client, wanted).values()) == {"keep", "update"}
    assert {name.partition(" ")[0] for name, one in does(client, wanted).items() if one == "update"} == {"deployment"}


def test_a_dry_run_prints_the_plan_and_changes_nothing(
    client: SyncPrefectClient, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POINTSMAN_PREFECT_PREFIX", "dry-")
    before = state_of(client)
    argv = ["--dry-run", "--pool", "local", "--pool", "ecs"]
    assert bootstrap_command([*argv, *(f"--variable={name}={value}" for name, value in TASKS.items())]) == 0
    said = capsys.readouterr().out.splitlines()
    assert state_of(client) == before
    for line in ("create work pool dry-ecs", "create limit dry-load-test", "create deployment run-scenario/dry-ecs"):
        assert line in said
    assert "create automation dry-pointsman: missed heartbeats" in said
    # Without a pool nobody asked for, and nothing of AWS.
    assert "work pool dry-ecs" not in does(client, Installation("dry-"))


def test_the_command_of_the_readme_makes_what_the_templates_name(
    client: SyncPrefectClient, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (line,) = [one for one in TEXT.splitlines() if "-m deployments.bootstrap" in one]
    monkeypatch.setenv("POINTSMAN_PREFECT_PREFIX", "dev-")
    worker = load("worker")["Resources"]["WorkerTask"]["Properties"]["ContainerDefinitions"][0]["Command"]
    assert "${Environment}-ecs" in str(worker)
    assert bootstrap_command([*shlex.split(line)[3:], "--dry-run"]) == 0
    assert "create work pool dev-ecs" in capsys.readouterr().out.splitlines()


def test_what_somebody_else_made_is_left_alone_and_named(
    client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    client.create_work_pool(WorkPoolCreate(name="foreign-local", type="process", description="of the team"))
    name = "foreign-pointsman: missed heartbeats"
    client.create_automation(AutomationCore(name=name, trigger=EventTrigger(), actions=[DoNothing()], enabled=False))

    @flow(name="run-scenario")
    def theirs() -> None: ...

    made = theirs.to_deployment("foreign-local", entrypoint_type="module_path")  # type: ignore[arg-type]
    deployment = made.apply()
    before = state_of(client)
    with pytest.raises(Conflict) as refused:
        bootstrap(Installation("foreign-"), {})
    for one in ("work pool foreign-local", f"automation {name}", "deployment run-scenario/foreign-local"):
        assert f"{one} (somebody else made it)" in refused.value.message
    assert "POINTSMAN_PREFECT_PREFIX" in refused.value.instruction
    assert state_of(client) == before
    monkeypatch.setenv("POINTSMAN_PREFECT_PREFIX", "foreign-")
    assert bootstrap_command(["--pool", "local", "--dry-run"]) == Conflict.exit_code
    said = capsys.readouterr()
    assert "refuse work pool foreign-local: somebody else made it" in said.out
    assert "Nothing was changed" in said.err
    client.delete_deployment(deployment)


def test_a_block_type_of_somebody_else_is_refused_and_a_document_that_was_changed_is_left(
    client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = Installation("blocks-")
    assert does(client, wanted)["block type pointsman-judge"] == "keep"
    JudgeBlock(spec=JudgeSpec(kind="gemini")).save("local", overwrite=True)
    try:
        assert does(client, wanted)["block pointsman-judge/local"] == "leave"
    finally:
        JudgeBlock(spec=JudgeSpec(kind="local")).save("local", overwrite=True)
    assert does(client, wanted)["block pointsman-judge/local"] == "keep"

    def judge(name: str, **fields: Any) -> type[Block]:
        return type(name, (Block,), {"_block_type_slug": "pointsman-of-a-test", "_block_type_name": name, **fields})

    judge("Of the team").register_type_and_schema()
    monkeypatch.setattr("blocks.SPEC_BLOCKS", (*SPEC_BLOCKS, judge("Pointsman of a test")))
    assert does(client, wanted)["block type pointsman-of-a-test"] == "refuse"
    renewed = judge("Of the team", __annotations__={"colour": str}, colour="red")
    monkeypatch.setattr("blocks.SPEC_BLOCKS", (*SPEC_BLOCKS, renewed))
    assert does(client, wanted)["block type pointsman-of-a-test"] == "update"


def test_a_pool_of_a_team_is_deployed_to_and_never_written(client: SyncPrefectClient) -> None:
    client.create_work_pool(WorkPoolCreate(name="team-fargate", type="ecs", description="of the team"))
    mapped = planned(client, Installation("mapped-", {"ecs": "team-fargate"}))
    assert (mapped["work pool team-fargate"].does, mapped["work pool team-fargate"].make) == ("leave", None)
    assert mapped["deployment run-scenario/mapped-ecs"].does == "create"
    assert does(client, Installation("mapped-", {"local": "team-fargate"}))["work pool team-fargate"] == "refuse"
    assert does(client, Installation("mapped-", {"ecs": "nowhere"}))["work pool nowhere"] == "refuse"


def test_what_was_changed_of_ours_is_put_back_and_what_people_tune_is_left(
    lab_world: LabWorld, client: SyncPrefectClient
) -> None:
    wanted = Installation("tuned-", {"ecs": None}, TASKS)
    for change in plan(client, wanted):
        if change.make is not None:
            change.make()
    kinds = {name: one for name, one in does(client, wanted).items() if not name.startswith("deployment")}
    assert set(kinds.values()) == {"keep"}
    template = ecs_template()
    template["job_configuration"]["command"] = "true"
    client.update_work_pool("tuned-ecs", WorkPoolUpdate(base_job_template=template))
    limit = client.read_global_concurrency_limit_by_name("tuned-load-test")
    client.update_global_concurrency_limit("tuned-load-test", GlobalConcurrencyLimitUpdate(limit=3))
    name = "tuned-pointsman: stuck before start"
    (automation,) = client.read_automations_by_name(name)
    client.pause_automation(automation.id)
    now = planned(client, wanted)
    assert now["limit tuned-load-test"].does == "leave"
    assert "3" in now["limit tuned-load-test"].why
    assert now[f"automation {name}"].does == "keep"
    assert now["work pool tuned-ecs"].does == "update"
    do(now["work pool tuned-ecs"])
    assert does(client, wanted)["work pool tuned-ecs"] == "keep"
    other = AutomationCore.model_validate(
        automation.model_dump(exclude={"id", "owner_resource"}) | {"actions": [DoNothing()]}
    )
    client.update_automation(automation.id, other)
    changed = planned(client, wanted)[f"automation {name}"]
    assert changed.does == "update"
    do(changed)
    (put_back,) = client.read_automations_by_name(name)
    assert [one.type for one in put_back.actions] == ["change-flow-run-state"]
    assert limit.limit == 1


def test_what_cannot_be_is_refused_by_name(
    client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputRefused, match="imgae"):
        bootstrap(Installation("no-", {"ecs": None}, {**TASKS, "imgae": "x"}), {}, dry_run=True)
    with pytest.raises(InputRefused, match="--variable image"):
        bootstrap(Installation("no-", {"ecs": None}), {}, dry_run=True)
    with pytest.raises(NotFound, match="slack-webhook/nobody"):
        bootstrap(Installation("no-", notify="slack-webhook/nobody"), {}, dry_run=True)
    assert bootstrap_command(["--pool", "fargate"]) == InputRefused.exit_code
    assert bootstrap_command(["--pool", "ecs", "--variable", "image"]) == InputRefused.exit_code
    assert "NAME=VALUE" in capsys.readouterr().err


def test_a_server_that_is_away_is_said_with_what_to_do(lab_world: LabWorld, capsys: pytest.CaptureFixture[str]) -> None:
    away = f"http://127.0.0.1:{free_ports(1)[0]}/api"
    with temporary_settings({PREFECT_API_URL: away, PREFECT_CLIENT_MAX_RETRIES: 0}):
        assert bootstrap_command(["--pool", "local", "--dry-run"]) == DependencyDown.exit_code
    assert f"{away} does not answer" in capsys.readouterr().err


def test_a_deploying_that_does_not_end_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def hangs(argv: list[str], *, timeout: float, **_: Any) -> None:
        raise subprocess.TimeoutExpired(argv, timeout)

    monkeypatch.setattr(subprocess, "run", hangs)
    with pytest.raises(DependencyDown, match="was not done within 300 seconds") as refused:
        _deploy(Installation("slow-"), {})
    assert "run the same command again" in refused.value.instruction


class _Webhook(BaseHTTPRequestHandler):
    got: list[str]

    def do_POST(self) -> None:
        self.got.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        return


@pytest.fixture
def told() -> Iterator[tuple[str, list[str]]]:
    """A webhook's address, and what it was told."""
    handler = type("Handler", (_Webhook,), {"got": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/", handler.got
    server.shutdown()
    server.server_close()


def test_a_critical_event_reaches_the_people_who_are_to_hear_of_it(
    client: SyncPrefectClient, told: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, got = told
    block = CustomWebhookNotificationBlock(name="operators", url=url, json_data={"text": "{{subject}} {{body}}"})
    block.save("operators", overwrite=True)
    wanted = Installation("heard-", notify="custom-webhook/operators")
    do(planned(client, wanted)["automation heard-pointsman: critical events"])
    PrefectEventSink().send(event())  # of another installation
    monkeypatch.setenv("POINTSMAN_PREFECT_PREFIX", "heard-")
    critical = event()
    PrefectEventSink().send(critical)
    eventually(lambda: bool(got), 30)
    assert len(got) == 1
    assert critical.instruction in got[0]
