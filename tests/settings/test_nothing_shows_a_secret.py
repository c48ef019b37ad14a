"""Secrets from every place, through a real run whose target repeats what it is sent; then everything is searched."""

from __future__ import annotations

import io
import json
import logging
import traceback
from pathlib import Path

import pytest
from rich.console import Console
from rich.traceback import Traceback

from pointsman.actions import ActionLog
from pointsman.dispatch import TargetSpec
from pointsman.errors import PointsmanError
from pointsman.model import Variant
from pointsman.scenario import Scenario, Stage, execute_run
from pointsman.scenario.publishing import publish_report
from pointsman.settings import Secret, load_settings, require_credential
from pointsman.storage import open_database, tables
from pointsman.workspace import Workspace
from tests.dispatch.loopback import Asked, Say, http, listening
from tests.dispatch.test_credentials import PRESET
from tests.scenario.fake_engine import VARIANT, plan
from tests.settings.conftest import Put

ENVIRONMENT, FILE, MANAGER, CONFIG, URL = (f"canary-{place}-71f3" for place in ("env", "file", "sm", "toml", "url"))
CANARIES = (ENVIRONMENT, FILE, MANAGER, CONFIG, URL)
SCENARIO = Scenario(name="short", stages=(Stage(name="only", rate=8, duration_s=0.5),), drain_limit_s=5)


def test_nothing_that_a_run_leaves_holds_a_secret_from_any_place(
    put: Put,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The target's key is in Secrets Manager, the executor's in a file, the judge's in config.toml, another around."""
    put("load-test/dev/acme-key", json.dumps({"ACME_KEY": MANAGER}))
    (home / "secrets" / "executor").write_text(FILE)
    (home / "config.toml").write_text(f'gemini_api_key = "{CONFIG}"')
    monkeypatch.setenv("POINTSMAN_TOKEN", ENVIRONMENT)
    monkeypatch.setenv("TARGET_URL_DEV", URL)
    caplog.set_level(logging.INFO, "markdown_it")  # a line for every rule of every passage
    caplog.set_level(logging.DEBUG)
    preset = tmp_path / "acme.toml"
    preset.write_text(f"{PRESET}\n[capabilities]\nneeds_executor_secret = true\n")

    def answer(asked: Asked) -> Say:
        if asked.method == "POST":
            return http(200, b'{"id": "1", "status": "queued"}')
        repeated = f"{asked.headers['authorization']} {asked.headers['x-studio-executor-secret']}"
        return http(200, json.dumps({"status": "failed", "why": f"no, not with {repeated}"}).encode())

    ws = Workspace.open(load_settings(), actor="tester")
    with listening(answer) as server:
        target = TargetSpec(name="acme", preset=str(preset), base_url=server.url)
        plan(ws, scenario=SCENARIO, variant=Variant(VARIANT.id, "acme"), target=target)
        execute_run(ws, "run1", secret=load_settings().executor_secret)
    publish_report(ws, "run1")
    assert {asked.headers["authorization"] for asked in server.asked} == {f"Key {MANAGER}"}
    assert {asked.headers["x-studio-executor-secret"] for asked in server.asked} == {FILE}
    with ws.database.connect() as connection:
        rows = [str(row) for table in tables.metadata.sorted_tables for row in connection.execute(table.select())]
    said = capfd.readouterr()
    logged = [str(entry) for entry in ActionLog(ws).read()]
    assert "Calculating signature" in caplog.text, "what boto3 logs was searched too"
    texts = {"rows": "".join(rows), "events": "".join(logged), "out": said.out, "err": said.err, "log": caplog.text}
    assert not [(name, one) for name, text in texts.items() for one in CANARIES if one in text]
    own = {FILE: {home / "secrets" / "executor"}, CONFIG: {home / "config.toml"}}
    files = {one: one.read_bytes() for one in tmp_path.rglob("*") if one.is_file()}
    for canary in CANARIES:
        assert {path for path, content in files.items() if canary.encode() in content} == own.get(canary, set())
    assert {"report.html", "results.json", "pointsman.db", "dispatches-00000.parquet"} <= {one.name for one in files}


def test_no_repr_and_no_traceback_with_its_variables_shows_one(
    put: Put, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("load-test/dev/acme-key", MANAGER)
    put("load-test/dev/broken-key", json.dumps({"other": MANAGER}))
    (home / "secrets" / "OTHER_KEY").write_text(FILE)
    (home / "config.toml").write_text(f'gemini_api_key = "{CONFIG}"')
    monkeypatch.setenv("STUDIO_EXECUTOR_SECRET", ENVIRONMENT)
    monkeypatch.setenv("POINTSMAN_DATABASE_URL", f"postgresql+psycopg://u:{URL}@127.0.0.1:9/p")
    settings = load_settings()
    found = [require_credential(name, "a test's") for name in ("ACME_KEY", "OTHER_KEY", "STUDIO_EXECUTOR_SECRET")]
    assert found == [Secret(MANAGER), Secret(FILE), Secret(ENVIRONMENT)]
    texts = [repr(settings), repr(found)]
    for fail in (
        lambda: require_credential("BROKEN_KEY", "a test's"),
        lambda: open_database(settings.database_url),
        lambda: open_database(f"postgresql+psycopg://u:{URL}@127.0.0.1:none/p"),
        lambda: load_settings(max_in_flight="many"),
    ):
        try:
            fail()
        except PointsmanError as error:
            texts += [*traceback.format_exception(error), str(error.as_failure()), str(error.data)]
        else:
            raise AssertionError("nothing was raised")
    try:
        require_credential("BROKEN_KEY", "a test's")
    except PointsmanError as error:
        shown = Traceback.from_exception(
            type(error), error, error.__traceback__, show_locals=True, locals_max_string=9999
        )
        console = Console(file=io.StringIO(), width=200)
        console.print(shown)
        texts.append(console.file.getvalue())  # type: ignore[attr-defined]
    assert not [text for text in texts for canary in CANARIES if canary in text]
