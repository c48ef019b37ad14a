"""A real run whose results lie in S3: laid out as contracted, read from another machine, kept when S3 is out."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from pointsman.actions import ActionLog
from pointsman.clock import ManualClock
from pointsman.dispatch import TargetSpec
from pointsman.errors import NotFound
from pointsman.model import Variant
from pointsman.scenario import execute_run, read_run
from pointsman.scenario.ledger import run_attempts, scan_ledger
from pointsman.scenario.provenance import provenance
from pointsman.scenario.publishing import publish_report
from pointsman.settings import load_settings
from pointsman.storage import SharedResults
from pointsman.workspace import Workspace
from service.cli import main
from tests.dispatch.loopback import http, listening
from tests.scenario.fake_engine import VARIANT, plan
from tests.scenario.test_on_a_real_target import load, serving


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadedMotoServer]:
    started = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    started.start()
    _, port = started.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "of-a-test",
        "AWS_SECRET_ACCESS_KEY": "of-a-test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "POINTSMAN_RESULTS_URI": "s3://results/team",
        "POINTSMAN_DATABASE_URL": f"sqlite:///{tmp_path / 'pointsman.db'}",
    }.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3").create_bucket(Bucket="results")
    yield started
    started.stop()


def machine(home: Path) -> Workspace:
    return Workspace.open(load_settings(home=home), actor="tester")


def test_a_run_lies_in_s3_as_contracted_and_another_machine_reads_it(
    server: ThreadedMotoServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = machine(tmp_path / "one"), machine(tmp_path / "two")
    with serving() as port:
        target = TargetSpec(name="fixed", preset="fixed", base_url=f"http://127.0.0.1:{port}")
        scenario = load(rate=40, seconds=0.5)
        plan(one, scenario=scenario, variant=Variant(VARIANT.id, "fixed"), target=target)
        with pytest.raises(NotFound):
            scan_ledger(two, read_run(two, "run1"))
        assert execute_run(one, "run1", secret=None).status == "completed"
    publish_report(one, "run1")
    record = read_run(two, "run1")
    environment, name, _, task = record.results_path.split("/")
    assert (environment, name, task) == ("lab", "real", "run1")
    listed = boto3.client("s3").list_objects_v2(Bucket="results", Prefix=f"team/{record.results_path}/")["Contents"]
    names = {one["Key"].rsplit("/", 1)[1] for one in listed}
    assert {"plan.json", "results.json", "summary.json", "dispatches-00000.parquet", "report.html"} <= names
    assert not {"lock", "status.json", "coordinator.lock"} & names
    told = json.loads(two.results.read(f"{record.results_path}/results.json"))
    assert (told["runner_type"], told["task_id"], told["seed"]) == ("inline", None, 1)
    assert told["scenario_sha256"] == scenario.sha256
    assert {"git_sha", "tool_version", "host"} <= told.keys()
    ledger = scan_ledger(two, record).collect()
    assert ledger.height == told["totals"]["planned"]
    assert run_attempts(two, record).equals(run_attempts(one, record))
    assert ledger.equals(scan_ledger(one, record).collect())
    published = publish_report(two, "run1")
    assert two.results.read(f"{record.results_path}/report.html").startswith(b"<!")
    assert published.files["report.html"].uri.startswith("s3://results/team/lab/real/")

    server.stop()
    assert isinstance(one.results, SharedResults)
    one.results._bucket._clock = ManualClock()  # nothing waits
    one.results.write("lab/late", b"late")
    for thread in threading.enumerate():
        if thread.name == "spooled":
            thread.join(10)
    (event,) = [one for one in ActionLog(two).read() if one.event == "result_upload_spooled"]
    assert (event.severity, event.instruction) == ("warn", "pointsman doctor --drain")
    assert event.data["files"] == 1
    server.start()
    _, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("POINTSMAN_HOME", str(tmp_path / "one"))
    boto3.client("s3").create_bucket(Bucket="results")
    main(["doctor", "--json"])
    results = {part["part"]: part for part in json.loads(capsys.readouterr().out)}["results store"]
    assert results["state"] == "works"
    assert "1 files wait: `pointsman doctor --drain` uploads them" in results["detail"]
    for uploaded in (1, 0):
        assert main([*event.instruction.split()[1:], "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == {"uploaded": uploaded, "left": 0}
    assert machine(tmp_path / "three").results.read("lab/late") == b"late"
    assert main(["doctor", "--drain"]) == 0
    assert "nothing waits" in capsys.readouterr().out


def test_results_of_a_task_on_ecs_carry_its_arn(monkeypatch: pytest.MonkeyPatch) -> None:
    arn = "arn:aws:ecs:eu-west-1:123456789012:task/load-test-cluster/0123"
    with listening(lambda asked: http(200, json.dumps({"TaskARN": arn}).encode())) as metadata:
        monkeypatch.setenv("ECS_CONTAINER_METADATA_URI_V4", metadata.url)
        assert (provenance()["runner_type"], provenance()["task_id"]) == ("ecs", arn)
        assert [asked.path for asked in metadata.asked] == ["/task"], "asked once"
    monkeypatch.setenv("ECS_CONTAINER_METADATA_URI_V4", f"{metadata.url}/gone")
    told = provenance()
    assert (told["runner_type"], told["task_id"]) == ("ecs", None)
    assert told["missing"]["task_id"] == "ECS did not tell it"
