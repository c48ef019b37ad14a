"""What `targets check` says about a preset that does not fit: which expression, what is there, and what to change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pointsman.dispatch import TargetSpec, check_target
from pointsman.dispatch.protocol import Purpose
from pointsman.dispatch.targets.explaining import Finding, explain
from pointsman.dispatch.targets.preset import load_preset
from pointsman.ids import VariantId
from pointsman.model import InputMember, Variant
from tests.dispatch.loopback import Asked, Say, http, listening
from tests.dispatch.world import VARIANT

PRESET = """
[credential]
variable = "ACME_KEY"
[submit]
method = "POST"
path = "/jobs"
body = { ref = "$dispatch_id" }
[poll]
method = "GET"
path = "/jobs/$job_id"
[cancel]
method = "DELETE"
path = "/jobs/$job_id"
[job]
job_id = "id"
state = "status"
ended = "finished_at"
output_url = "output.url"
version = "model.version"
[job.states]
waiting = "queued"
done = "completed"
[[attempts.usage]]
sku = "$provider:second"
product = ["metrics.seconds"]
basis = "measured"
"""
GOOD = {
    "id": "1",
    "status": "done",
    "finished_at": "2026-01-01T00:00:00Z",
    "output": {"url": "/out/1"},
    "model": {"version": "v1"},
    "metrics": {"seconds": 3},
}
KEY = "key-that-is-nowhere-shown"


@pytest.fixture
def acme(tmp_path: Path) -> str:
    path = tmp_path / "acme.toml"
    path.write_text(PRESET)
    return str(path)


def said(acme: str, document: Any, purpose: Purpose = "poll", status: int = 200) -> list[Finding]:
    body = document if isinstance(document, str) else json.dumps(document)
    return explain(load_preset(acme), purpose, status, body)


def test_what_fits_is_not_mentioned(acme: str) -> None:
    assert said(acme, GOOD) == []
    assert said(acme, {"id": "1", "status": "waiting"}, "submit") == []
    assert said(acme, "anything", "cancel") == []


def test_a_version_that_no_answer_tells_is_not_missed_in_it(tmp_path: Path) -> None:
    path = tmp_path / "acme.toml"
    path.write_text(PRESET.replace("model.version", "$params.model"))
    assert said(str(path), without("model")) == []


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_is_not_the_presets_fault_is_not_mentioned(acme: str, status: int) -> None:
    assert said(acme, "later", status=status) == []


def without(*names: str, **more: Any) -> dict[str, Any]:
    return {**{name: value for name, value in GOOD.items() if name not in names}, **more}


@pytest.mark.parametrize(
    ("document", "where", "saw", "advice"),
    [
        (without("status", job={"status": "done"}), "job.state", "the answer has id, finished_at", "job.status"),
        (without("status", state="done"), "job.state", "the answer has", "Did you mean state?"),
        (without(status="finished"), "job.states", "state finished", '"finished" = one of'),
        (without(status=3), "job.state", "status is 3", "the word for the job's state"),
        (without(finished_at=1767261600), "job.ended", "finished_at is 1767261600", "not an ISO 8601 time"),
        (without("finished_at"), "job.ended", "the answer has", "a value of the ended job"),
        (without(output={"video": {"url": "/x"}}), "job.output_url", "output has video", "output.video.url"),
        (without(output={"url": ["/x"]}), "job.output_url", '["/x"]', "this is a list"),
        (without("model"), "job.version", "the answer has", "a value of the ended job"),
        (
            without(metrics={"secs": 3}),
            "attempts.usage[0].product",
            "metrics has secs",
            "without it the job has no price",
        ),
        (without(metrics={"seconds": "3"}), "attempts.usage[0].product", 'metrics.seconds is "3"', "not a number"),
        ([], "job.state", "the answer is []", "the word for"),
        (without(status={"a": "x" * 500}), "job.state", "status has a", "the word for"),
        ("<html>maintenance</html>", "poll.path", "<html>maintenance</html>", "no JSON document"),
    ],
)
def test_each_failure_names_the_expression_what_is_there_and_what_to_do(
    acme: str, document: Any, where: str, saw: str, advice: str
) -> None:
    (found, *more) = said(acme, document)
    assert more == []
    assert found.where == where
    assert found.saw.startswith(saw)
    assert advice in found.advice
    assert len(found.saw) <= 120


def test_an_id_that_is_not_found_is_noticed_at_the_submission(acme: str) -> None:
    (found,) = said(acme, {"job_id": "1", "status": "waiting"}, "submit")
    assert (found.where, found.expression, found.advice) == (
        "job.job_id",
        "id",
        "It should lead to the id to ask for later. Did you mean job_id?",
    )


@pytest.mark.parametrize(
    ("purpose", "status", "where", "advice"),
    [
        ("submit", 401, "credential", "Check the value of ACME_KEY"),
        ("submit", 404, "submit.path", "submit.method and submit.path"),
        ("poll", 404, "poll.path", "job.job_id"),
        ("submit", 302, "submit.path", "base URL"),
        ("submit", 422, "submit.body", "the variant's parameters"),
    ],
)
def test_answers_other_than_success_lead_to_their_section(
    acme: str, purpose: Purpose, status: int, where: str, advice: str
) -> None:
    (found,) = said(acme, {"detail": "no"}, purpose, status)
    assert found.where == where
    assert advice in found.advice
    assert found.saw == f'HTTP {status}: {{"detail": "no"}}'


def test_without_a_key_section_it_says_how_to_add_one(acme: str) -> None:
    Path(acme).write_text(PRESET.replace('[credential]\nvariable = "ACME_KEY"\n', ""))
    (found,) = said(acme, "no", "submit", 401)
    assert found.expression == "(not set)"
    assert "[credential]" in found.advice


def test_results_and_lists_of_jobs_are_explained_as_well(acme: str) -> None:
    result = '[result]\nmethod = "GET"\npath = "/jobs/$job_id/result"\noutput_url = "video.url"\n'
    Path(acme).write_text(PRESET + result)
    assert said(acme, GOOD) == []
    (found,) = said(acme, {"image": {"url": "/x"}}, "result")
    assert found.where == "result.output_url"
    assert found.advice == "It should lead to the output or its URL. Did you mean image.url?"
    Path(acme).write_text(PRESET.replace('path = "/jobs/$job_id"\n', 'path = "/jobs"\njobs = "items"\n', 1))
    assert said(acme, {"items": [GOOD]}) == []
    (found,) = said(acme, {"jobs": [GOOD]})
    assert found.where == "poll.jobs"


def check(acme: str, answers: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, list[Asked]]:
    monkeypatch.setenv("ACME_KEY", KEY)

    def answer(asked: Asked) -> Say:
        if asked.path.startswith("/out"):
            return http(200, b"picture")
        if asked.method == "POST":
            return http(200, b'{"id": "1", "status": "waiting", "echo": "%s"}' % KEY.encode())
        return http(200, json.dumps(answers(asked)).encode())

    variant = Variant(VariantId.parse(VARIANT), "acme")
    with listening(answer) as server:
        target = TargetSpec(name="acme", preset=acme, base_url=server.url)
        found = check_target(
            folder / "check", target, variant, InputMember("i", "/clip", "0" * 64, 1, "c"), secret=None
        )
    return found, server.asked


def test_a_target_that_fits_is_tried_with_one_job(acme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked, asked = check(acme, lambda _: GOOD, tmp_path, monkeypatch)
    assert checked.findings == ()
    assert checked.found["state"] == "completed"
    assert (checked.found["version"], checked.found["usage"]) == ("v1", "p1:second 3")
    assert checked.found["output_bytes"] == 7
    assert [one.method for one in asked].count("POST") == 1
    kept = [one for one in (tmp_path / "check").rglob("*") if one.is_file() and KEY.encode() in one.read_bytes()]
    assert kept == []
    assert b'\\"echo\\": \\"***\\"' in (tmp_path / "check" / "answers.jsonl").read_bytes()


def test_a_job_that_cannot_be_followed_is_cancelled_and_explained(
    acme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked, asked = check(acme, lambda _: {"id": "1", "status": "en_route"}, tmp_path, monkeypatch)
    (found,) = checked.findings
    assert (found.where, found.saw) == ("job.states", "state en_route")
    assert checked.found["state"] == "cancelled_sent"
    assert asked[-1].method in ("DELETE", "GET")
    assert "DELETE" in {one.method for one in asked}
