"""The keys of targets: where they come from, which header carries them, and that nothing else shows them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pointsman.dispatch import DriveInput, DrivePlan, Limits, TargetSpec, drive, planned_dispatches, write_drive
from pointsman.dispatch.masking import Mask
from pointsman.dispatch.targets.credentials import secret_variables, target_headers
from pointsman.dispatch.targets.preset import load_preset
from pointsman.errors import InputRefused
from pointsman.settings import Secret, load_credential
from tests.dispatch.loopback import Asked, Say, http, listening
from tests.dispatch.world import VARIANT

KEY = "r8_a-key-that-nobody-may-see"
PRESET = """
[credential]
variable = "ACME_KEY"
header = "Authorization"
value = "Key $secret"
[headers]
X-Tenant = "studio"
[hidden_retries]
most = 10
off = { x-no-retry = "1" }
[submit]
method = "POST"
path = "/jobs"
body = { ref = "$dispatch_id" }
headers = { Idempotency-Key = "$dispatch_id" }
[poll]
method = "GET"
path = "/jobs/$job_id"
[job]
job_id = "id"
state = "status"
reason = "why"
output_url = "url"
states = { queued = "queued", done = "completed", failed = "failed" }
"""


@pytest.fixture
def acme(tmp_path: Path) -> str:
    path = tmp_path / "acme.toml"
    path.write_text(PRESET)
    return str(path)


def test_a_key_comes_from_its_variable_or_from_its_file(tmp_path: Path) -> None:
    environ = {"POINTSMAN_HOME": str(tmp_path)}
    assert load_credential("ACME_KEY", environ) is None
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "ACME_KEY").write_text("from-the-file\n")
    assert load_credential("ACME_KEY", environ) == Secret("from-the-file")
    assert load_credential("ACME_KEY", {**environ, "ACME_KEY": "given"}) == Secret("given")


def test_headers_carry_the_key_as_the_preset_says(acme: str) -> None:
    found = load_preset(acme)
    assert secret_variables(found) == ("ACME_KEY",)
    headers = target_headers(found, {"ACME_KEY": Secret(KEY)})
    assert {name: value.reveal() for name, value in headers.items()} == {
        "X-Tenant": "studio",
        "Authorization": f"Key {KEY}",
    }
    assert KEY not in repr(headers)


@pytest.mark.parametrize("text", ["", "two\nlines", "schlüssel"])
def test_a_key_that_no_header_can_carry_is_refused_without_showing_it(acme: str, text: str) -> None:
    with pytest.raises(InputRefused) as refused:
        target_headers(load_preset(acme), {"ACME_KEY": Secret(text)})
    assert not text or text not in str(refused.value)


def test_a_mask_hides_the_longest_first_and_leaves_short_ones_alone() -> None:
    mask = Mask([Secret("abcdef"), Secret("abcdefgh"), Secret("on")])
    assert mask.hide(b"abcdefgh abcdef on") == b"*** *** on"


def plan(folder: Path, preset: str, url: str, **limits: object) -> Path:
    drive_dir = folder / "drive"
    write_drive(
        drive_dir,
        DrivePlan(
            run_id="run",
            target=TargetSpec(name="acme", preset=preset, base_url=url),
            variants={VARIANT: {}},
            inputs={"i": DriveInput(uri="/clip", sha256="0" * 64, bytes=1, cluster="c")},
            dispatches=planned_dispatches(route=[VARIANT, VARIANT], input_id="i"),
            limits=Limits(max_in_flight=2, poll_interval_s=0.05, drain_limit_s=5.0, **limits),  # type: ignore[arg-type]
        ),
    )
    return drive_dir


def test_without_its_key_nothing_is_started_and_the_error_says_where_to_put_it(
    tmp_path: Path, acme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POINTSMAN_HOME", str(tmp_path))
    monkeypatch.delenv("ACME_KEY", raising=False)
    with pytest.raises(InputRefused, match=r"ACME_KEY.*acme") as refused:
        drive(plan(tmp_path, acme, "http://127.0.0.1:9"), secret=None)
    assert "secrets/ACME_KEY" in refused.value.instruction


def test_the_key_goes_to_the_target_and_into_no_file_argument_or_other_origin(
    tmp_path: Path, acme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The target repeats the key in a reason and in an error; an output lies at another host, which gets nothing."""
    monkeypatch.setenv("POINTSMAN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ACME_KEY", KEY)
    arguments: list[str] = []

    def answer(asked: Asked) -> Say:
        if not arguments:
            arguments.append(subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True).stdout)
        if asked.method == "POST":
            return http(200, b'{"id": "%d", "status": "queued"}' % len(server.asked))
        if asked.path == "/jobs/1":
            return http(200, b'{"status": "failed", "why": "bad key %s"}' % KEY.encode())
        return http(200, b'{"status": "done", "url": "%s/out.png"}' % cdn.url.encode())

    with listening(lambda _: http(200, b"picture")) as cdn, listening(answer) as server:
        drive_dir = plan(tmp_path, acme, server.url, fetch_outputs=True)
        summary = drive(drive_dir, secret=None)
    assert (summary.counts["failed"], summary.counts["completed"]) == (2, 0)
    assert {asked.headers["authorization"] for asked in server.asked} == {f"Key {KEY}"}
    assert {asked.headers["x-tenant"] for asked in server.asked} == {"studio"}
    submits = [asked for asked in server.asked if asked.method == "POST"]
    assert {asked.headers["x-no-retry"] for asked in submits} == {"1"}
    assert len({asked.headers["idempotency-key"] for asked in submits}) == 2
    assert all("x-no-retry" not in asked.headers for asked in server.asked if asked.method == "GET")
    assert cdn.asked == []  # nobody allowed that host
    assert KEY not in arguments[0]
    kept = [one for one in tmp_path.rglob("*") if one.is_file() and KEY.encode() in one.read_bytes()]
    assert kept == []
