"""The executor secret goes from driver to lab and nowhere else, wherever it comes from."""

import boto3
import pytest
from moto.server import ThreadedMotoServer

from service.cli.world import executor_secret
from tests.world import FEW_INPUTS

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("world")]
SCENARIO = "name: short\nstages:\n  - {name: only, kind: constant, rate: 4, duration_s: 1}\ndrain_limit_s: 20\n"


def test_no_output_log_row_or_result_of_a_run_holds_the_secret(lab_world, pointsman, tmp_path):
    path = tmp_path / "short.yaml"
    path.write_text(SCENARIO)
    ran = ["scenario", "run", path, "--variant", "x264-veryfast-crf23@lab-cpu", "--input-set", FEW_INPUTS]
    answers = [pointsman(*ran, "--json"), pointsman("logs", "--json"), pointsman("targets", "list", "--json")]
    assert [answer.code for answer in answers] == [0, 0, 0], [answer.err for answer in answers]
    assert answers[0].document["counts"]["completed"] == 4
    secret = executor_secret(lab_world.home)
    assert all(secret not in answer.out + answer.err for answer in answers)
    kept = [one for one in lab_world.home.rglob("*") if one.is_file() and secret.encode() in one.read_bytes()]
    assert kept == [lab_world.home / "secrets" / "executor"]
    assert any("prefect" in one.name for one in lab_world.home.rglob("*.db")), "Prefect's own database was searched too"


@pytest.fixture
def in_secrets_manager(lab_world, monkeypatch):
    """The lab's secret is in Secrets Manager only, and keys of others are around."""
    secret = executor_secret(lab_world.home)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    file, other = (lab_world.home / "secrets" / name for name in ("executor", "ACME_KEY"))
    other.write_text("canary-file-9023")
    kept = file.rename(lab_world.home.parent / "put-away")
    _, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "of-a-test",
        "AWS_SECRET_ACCESS_KEY": "of-a-test",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "POINTSMAN_ENVIRONMENT": "dev",
        "GEMINI_API_KEY": "canary-environment-9023",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("STUDIO_EXECUTOR_SECRET", raising=False)
    boto3.client("secretsmanager").create_secret(Name="load-test/dev/executor-secret", SecretString=secret)
    try:
        yield secret
    finally:
        server.stop()
        other.unlink()
        kept.rename(file)


def test_a_secret_of_secrets_manager_reaches_the_lab_and_shows_nowhere(
    lab_world, in_secrets_manager, pointsman, tmp_path
):
    path = tmp_path / "short.yaml"
    path.write_text(SCENARIO)
    ran = ["scenario", "run", path, "--variant", "x264-veryfast-crf23@lab-cpu", "--input-set", FEW_INPUTS]
    answers = [pointsman(*ran, "--json"), pointsman("logs", "--json")]
    assert [answer.code for answer in answers] == [0, 0], [answer.err for answer in answers]
    assert answers[0].document["counts"]["completed"] == 4
    files = {one: one.read_bytes() for one in lab_world.home.rglob("*") if one.is_file()}
    for canary, own in (
        (in_secrets_manager, []),
        ("canary-environment-9023", []),
        ("canary-file-9023", [lab_world.home / "secrets" / "ACME_KEY"]),
    ):
        assert all(canary not in answer.out + answer.err for answer in answers)
        assert [one for one, content in files.items() if canary.encode() in content] == own
