"""The generic job target: requests from templates, answers through expressions, presets that are refused."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pointsman.dispatch import BUILT_IN_PRESETS, Response, TargetSpec
from pointsman.dispatch.targets import AsyncJobTarget, load_preset
from pointsman.errors import InputRefused, NotFound, RunFailed
from pointsman.ids import VariantId
from pointsman.model import Dispatch, InputMember, Missing, Variant
from tests.dispatch.world import VARIANT

MEMBER = InputMember("i", "/clip", "0" * 64, 1, "c")
PROVIDER = """
[capabilities]
idempotent_submit = false
status_by_dispatch_id = false
batch_status = 1
needs_executor_secret = false
[submit]
method = "POST"
path = "/run"
body = { model = "$workflow", input = ["$input_uri"], ref = "$dispatch_id" }
[poll]
method = "GET"
path = "/run/$job_id"
[cancel]
method = "DELETE"
path = "/run/$job_id"
[job]
job_id = "id"
state = "state || status"
output_path = "/run/$job_id/files/0"
[job.states]
IN_QUEUE = "queued"
DONE = "completed"
[attempts]
list = "metrics.tries"
number = "n"
provider = "where"
outcome = "how"
started = "from"
ended = "to"
outcomes = { ok = "completed" }
[[attempts.usage]]
sku = "$provider:gpu-second"
product = ["seconds"]
basis = "estimated"
"""


@pytest.fixture
def provider(tmp_path: Path) -> AsyncJobTarget:
    path = tmp_path / "provider.toml"
    path.write_text(PROVIDER)
    return AsyncJobTarget(load_preset(str(path)))


def submit(target: AsyncJobTarget, seq: int = 1) -> Any:
    variant = Variant(VariantId.parse(VARIANT), "t", {"crf": 23})
    return target.submit(Dispatch("run", seq, variant.id, "i").id, variant.id, variant, MEMBER)


def answer(document: Any, status: int = 200) -> Response:
    return Response(status, {}, json.dumps(document).encode())


def test_a_provider_of_ones_own_is_a_file(provider: AsyncJobTarget) -> None:
    sent = submit(provider)
    assert json.loads(sent.body) == {"model": "w", "input": ["/clip"], "ref": sent.asks_for[0]}
    (taken,) = provider.parse(sent, answer({"id": 77, "status": "IN_QUEUE"}))
    assert (taken.state, taken.job_id) == ("queued", "77")
    asked = provider.poll([(sent.asks_for[0], "7/7")])
    assert (asked.method, asked.path, asked.body) == ("GET", "/run/7%2F7", None)
    tries = [{"n": 1, "where": "gpu", "how": "ok", "from": "2026-01-01T01:00:00+01:00", "to": None, "seconds": 1.1}]
    tries.append({**tries[0], "n": 2, "seconds": None})
    (done,) = provider.parse(asked, answer({"id": "77", "state": "DONE", "metrics": {"tries": tries}}))
    assert done.state == "completed"
    assert done.output_path == "/run/77/files/0"
    first, second = done.attempts
    assert (first.started.isoformat(), first.usage[0].sku) == ("2026-01-01T00:00:00+00:00", "gpu:gpu-second")
    assert first.usage[0].quantity == Decimal("1.1")  # not 1.100000000000000088...
    assert second.usage[0].quantity == Missing("seconds not reported by the target")
    (cancel,) = provider.cancel(sent.asks_for[0], "77")
    assert (cancel.method, cancel.path) == ("DELETE", "/run/77")
    assert provider.parse(cancel, Response(404, {}, b""))[0].state == "absent"


def test_bodies_of_one_route_and_input_differ_only_in_the_dispatch_id() -> None:
    target = AsyncJobTarget(load_preset("lab"))
    one, two = submit(target, 1), submit(target, 2)
    assert one.body.replace(one.asks_for[0].encode(), two.asks_for[0].encode()) == two.body
    assert submit(target, 1) == one


def test_other_parameters_of_a_variant_make_another_body() -> None:
    target = AsyncJobTarget(load_preset("lab"))
    one = Variant(VariantId.parse(VARIANT), "t", {"crf": 1})
    two = Variant(VariantId.parse(VARIANT), "t", {"crf": 2})
    bodies = [json.loads(target.submit("d", one.id, variant, MEMBER).body or b"") for variant in (one, two)]
    assert [body["params"]["crf"] for body in bodies] == [1, 2]


@pytest.mark.parametrize(
    "document",
    [
        {"status": "IN_QUEUE", "id": [1]},
        {"status": "NEVER_HEARD_OF"},
        {"status": 3},
        {},
        [],
        None,
        "text",
        {"status": "DONE", "metrics": {"tries": 3}},
        {"status": "DONE", "metrics": {"tries": [{"n": 1}]}},
        {"status": "DONE", "metrics": {"tries": [{"n": 1, "where": "g", "how": "ok", "from": "yesterday"}]}},
        {
            "status": "DONE",
            "metrics": {
                "tries": [{"n": 1, "where": "g", "how": "ok", "from": "2026-01-01T00:00:00Z", "seconds": "many"}]
            },
        },
    ],
)
def test_answers_of_the_wrong_shape_are_garbage_and_never_another_error(
    provider: AsyncJobTarget, document: Any
) -> None:
    with pytest.raises(RunFailed) as failed:
        provider.parse(submit(provider), answer(document))
    assert failed.value.code == "garbage_answer"


def test_negative_and_oversized_numbers_are_garbage() -> None:
    target = AsyncJobTarget(load_preset("lab"))
    sent = submit(target)
    good = {"dispatch_id": sent.asks_for[0], "status": "completed"}
    assert target.parse(sent, answer(good))[0].state == "completed"
    for bad in (
        {"queue_ms": -1},
        {"run_ms": "3"},
        {"generation": -1},
        {"generation": 2**70},
        {"generation": True},
        {"created_at": 3},
        {"dispatch_id": "somebody-elses"},
    ):
        with pytest.raises(RunFailed, match="understood"):
            target.parse(sent, answer(good | bad))


def test_jobs_that_were_not_asked_about_are_not_heard() -> None:
    target = AsyncJobTarget(load_preset("lab"))
    asked = target.poll([("a", None), ("b", None)])
    document = {"jobs": [{"dispatch_id": "c", "status": "completed"}], "unknown": ["b", "d"]}
    assert [(one.dispatch_id, one.state) for one in target.parse(asked, answer(document))] == [("b", "absent")]


@pytest.mark.parametrize("status", [301, 400, 409, 422])
def test_a_submission_that_is_turned_down_is_refused_with_its_status(status: int) -> None:
    target = AsyncJobTarget(load_preset("lab"))
    sent = submit(target)
    (update,) = target.parse(sent, Response(status, {}, b"<html>"))
    assert (update.state, update.reason) == ("refused", f"http_{status}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("batch_status = 1 -> batch_status = 0", "poll"),
        ("batch_status = 1 -> batch_status = 9", r"poll\.jobs"),
        ('[submit] -> [submit.headers]\nHost = "x"\n[submit]', r"submit\.headers"),
        ('[submit] -> [submit.headers]\nKey = "a\\nb"\n[submit]', r"submit\.headers"),
        ('[submit] -> [headers]\nAuthorization = "Bearer k"\n[submit]', r"credential"),
        ('[submit] -> [credential]\nvariable = "lower"\n[submit]', r"credential\.variable"),
        ('[submit] -> [credential]\nvariable = "KEY"\nvalue = "none"\n[submit]', r"credential\.value"),
        ('[submit] -> [outputs]\nhosts = ["a/b"]\n[submit]', r"outputs\.hosts"),
        ('[submit] -> [outputs]\nnetworks = ["10.0.0.1/8"]\n[submit]', r"outputs\.networks"),
        ('path = "/run" -> path = "//elsewhere"', r"submit\.path"),
        ('path = "/run" -> path = "http://elsewhere/"', r"submit\.path"),
        ('method = "POST" -> method = "BREW"', r"submit\.method"),
        ("[submit] -> [submit]\nsurprise = 1", "surprise"),
        ('job_id = "id" -> ', r"job\.job_id"),
        ("status_by_dispatch_id = false -> status_by_dispatch_id = true", r"poll\.path"),
        ('DONE = "completed" -> DONE = "finished"', "states"),
        ("[job] -> [job", "TOML"),
    ],
)
def test_a_preset_that_does_not_fit_is_refused_and_names_the_place(tmp_path: Path, change: str, message: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(PROVIDER.replace(*change.split(" -> "), 1))
    with pytest.raises(InputRefused, match=message):
        load_preset(str(path))


def test_an_expression_that_does_not_parse_is_refused_when_the_target_is_built(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(PROVIDER.replace("state || status", "state ||"))
    with pytest.raises(InputRefused, match="JMESPath"):
        TargetSpec(name="t", preset=str(path), base_url="http://host").build()


def test_an_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(NotFound, match="fixed, lab"):
        TargetSpec(name="t", preset="nobody", base_url="http://host").build()
    for name in BUILT_IN_PRESETS:
        assert TargetSpec(name="t", preset=name, base_url="http://host").build().capabilities


@pytest.mark.parametrize(
    ("job_id", "path"),
    [
        ("https://queue.example/owner/app/requests/1", "/owner/app/requests/1/status"),
        ("models/m/operations/7", "/models/m/operations/7/status"),
        ("https://queue.example/../secrets", None),
        ("a b", None),
        ("x\r\nHost: y", None),
        ("", None),
    ],
)
def test_a_job_id_that_is_a_path_stays_at_the_target(tmp_path: Path, job_id: str, path: str | None) -> None:
    preset = tmp_path / "provider.toml"
    preset.write_text(PROVIDER.replace('path = "/run/$job_id"', 'path = "/$job_path/status"', 1))
    target = AsyncJobTarget(load_preset(str(preset)))
    if path is not None:
        assert target.poll([("d", job_id)]).path == path
        return
    with pytest.raises(RunFailed, match="no path"):
        target.parse(submit(target), answer({"id": job_id, "status": "IN_QUEUE"}))


def with_params(tmp_path: Path, params: dict[str, Any], member: InputMember = MEMBER) -> Any:
    text = PROVIDER.replace('path = "/run"', 'path = "/$params.model:run"', 1)
    text = text.replace(
        'body = { model = "$workflow", input = ["$input_uri"], ref = "$dispatch_id" }', 'body = "$params.all"'
    )
    preset = tmp_path / "provider.toml"
    preset.write_text(text)
    variant = Variant(VariantId.parse(VARIANT), "t", params)
    return AsyncJobTarget(load_preset(str(preset))).submit("d", variant.id, variant, member)


def test_parameters_choose_the_path_and_take_the_input_where_the_model_wants_it(tmp_path: Path) -> None:
    file = tmp_path / "in put.png"
    file.write_bytes(b"pixels")
    member = InputMember("i", file.as_uri(), "0" * 64, 6, "c")
    wanted = {"image": "$input_data_uri", "raw": ["$input_base64"], "kind": "$input_type", "text": "$100", "n": 3}
    sent = with_params(tmp_path, {"model": "owner/m-1", "all": wanted}, member)
    assert sent.path == "/owner/m-1:run"
    assert json.loads(sent.body) == {
        "image": "data:image/png;base64,cGl4ZWxz",
        "raw": ["cGl4ZWxz"],
        "kind": "image/png",
        "text": "$100",
        "n": 3,
    }


@pytest.mark.parametrize("model", [None, "", "../admin", "a b", "a\r\nb", 3, "a?b"])
def test_a_path_parameter_that_is_missing_or_no_path_is_refused(tmp_path: Path, model: Any) -> None:
    with pytest.raises(InputRefused, match="variant parameter model"):
        with_params(tmp_path, {"model": model, "all": {}})


@pytest.mark.parametrize(
    ("member", "wanted", "why"),
    [
        (InputMember("i", "/no/such/file", "0" * 64, 1, "c"), "$input_base64", "can be read"),
        (InputMember("i", "https://host/clip", "0" * 64, 1, "c"), "$input_base64", "a file"),
        (InputMember("i", "/clip", "0" * 64, 2**30, "c"), "$input_data_uri", "at most"),
    ],
)
def test_an_input_that_cannot_go_into_a_request_is_refused(
    tmp_path: Path, member: InputMember, wanted: str, why: str
) -> None:
    with pytest.raises(InputRefused, match=why):
        with_params(tmp_path, {"model": "m", "all": {"x": wanted}}, member)


def test_a_text_input_has_to_be_text(tmp_path: Path) -> None:
    file = tmp_path / "prompt.txt"
    file.write_bytes("ein Berg, früh".encode())
    member = InputMember("i", file.as_uri(), "0" * 64, 16, "c")
    sent = with_params(tmp_path, {"model": "m", "all": {"prompt": "$input_text"}}, member)
    assert json.loads(sent.body) == {"prompt": "ein Berg, früh"}
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(InputRefused, match="text file"):
        with_params(tmp_path, {"model": "m", "all": {"prompt": "$input_text"}}, member)
