"""What came of a completed job: results told apart from states, outputs in an answer or elsewhere, moderation."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pointsman.dispatch import (
    DriveInput,
    DrivePlan,
    DriveSummary,
    Limits,
    TargetSpec,
    planned_dispatches,
    read_attempts,
    read_dispatches,
    read_seconds,
    write_drive,
)
from pointsman.dispatch.closing import close_drive
from pointsman.dispatch.downloads import NotAllowed
from pointsman.dispatch.protocol import Request, Response
from pointsman.dispatch.targets import load_preset
from pointsman.dispatch.transport import TOO_SLOW, Fetched, NoAnswer
from pointsman.errors import InputRefused
from tests.dispatch.world import VARIANT, Service, World, carry_on, write

PRESET = """
[submit]
method = "POST"
path = "/jobs"
body = { ref = "$dispatch_id", input = "$params" }
[poll]
method = "GET"
path = "/jobs/$job_id"
[job]
job_id = "id"
state = "status"
reason = "why"
refused = "flagged"
version = "model"
started = "took"
running_since = "began"
ended = "ended"
output_url = "url"
output_base64 = "b64"
output_text = "text"
states = { waiting = "queued", done = "completed", broken = "failed" }
[errors]
reason = "error.message"
refused = "error.code == 'unsafe'"
final = "error.code == 'no_money'"
[attempts]
[[attempts.usage]]
sku = "$provider:second"
product = ["seconds", "`0.5`"]
basis = "measured"
"""
RESULT = '[result]\nmethod = "GET"\npath = "/jobs/$job_id/result"\noutput_url = "video"\nversion = "model"\n'


@dataclass
class Provider(Service):
    """Jobs that are done at the first look, each as `ends` says; results as `results` says."""

    ends: Callable[[int], dict[str, Any]] = lambda number: {"status": "done"}
    results: Callable[[int], Response | NoAnswer] = lambda number: Response(200, {}, b"{}")
    taken: int = 0
    requested: Counter[str] = field(default_factory=Counter)

    def _respond(self, request: Request) -> Response:
        self.requested[request.purpose] += 1
        if request.purpose == "submit":
            self.taken += 1
            return Response(201, {}, json.dumps({"id": self.taken, "status": "waiting"}).encode())
        number = int(request.path.split("/")[2])
        if request.purpose == "result":
            return self.results(number)  # type: ignore[return-value]
        return Response(200, {}, json.dumps(self.ends(number)).encode())


@dataclass
class Hosts:
    """Other hosts by URL."""

    holds: dict[str, bytes | Response | NoAnswer]
    asked: list[str] = field(default_factory=list)

    async def fetch(self, url: str, into: Path) -> Fetched | Response | NoAnswer:
        self.asked.append(url)
        await asyncio.sleep(0.05)
        got = self.holds.get(url)
        if got is None:
            raise NotAllowed(f"it lies at {url}")
        if isinstance(got, bytes):
            into.write_bytes(got)
            return Fetched(hashlib.sha256(got).hexdigest(), len(got))
        return got


@dataclass
class Bench:
    folder: Path
    world: World
    hosts: Hosts
    text: str = PRESET

    def run(self, service: Provider, count: int = 1, **limits: Any) -> tuple[DriveSummary, pl.DataFrame]:
        path = self.folder / "provider.toml"
        path.write_text(self.text)
        limits = {"fetch_outputs": True, "max_in_flight": count, **limits}
        self.drive_dir = write(self.folder, count, target_preset=str(path), **limits)
        assert carry_on(self.drive_dir, self.world, service, downloads=self.hosts) == "completed"
        return close_drive(self.drive_dir, "completed"), read_dispatches(self.drive_dir)

    def kept(self, rows: pl.DataFrame) -> list[bytes]:
        return [(self.drive_dir / "outputs" / name).read_bytes() for name in rows["dispatch_id"]]


@pytest.fixture
def bench(tmp_path: Path, world: World) -> Bench:
    return Bench(tmp_path, world, Hosts({"https://cdn/1": b"one"}))


@pytest.mark.parametrize(
    ("ended", "content"),
    [
        ({"b64": base64.b64encode(b"picture").decode()}, b"picture"),
        ({"url": "data:image/png;base64," + base64.b64encode(b"picture").decode()}, b"picture"),
        ({"b64": "data:text/plain,a%20b"}, b"a b"),
        ({"text": "wörter"}, "wörter".encode()),
        ({"url": "https://cdn/1"}, b"one"),
        ({"url": "https://cdn/1", "text": "and words"}, b"one"),
        ({"url": "/files/a b"}, b"the picture"),
    ],
    ids=["base64", "data URI", "data URI without base64", "text", "elsewhere", "elsewhere first", "here"],
)
def test_an_output_is_kept_wherever_the_answer_has_it(bench: Bench, ended: dict[str, Any], content: bytes) -> None:
    summary, rows = bench.run(Provider(bench.world, ends=lambda _: {"status": "done", **ended}))
    assert summary.counts["completed"] == 1
    assert bench.kept(rows) == [content]
    assert rows["output_sha256"].to_list() == [hashlib.sha256(content).hexdigest()]


@pytest.mark.parametrize(
    "ended", [{"b64": "not base64!"}, {"url": 3}, {"text": ["a"]}, {"url": "https://" + "x" * 9000}]
)
def test_an_output_of_the_wrong_form_is_garbage_and_is_asked_for_again(bench: Bench, ended: dict[str, Any]) -> None:
    looks = iter([{"status": "done", **ended}] * 2)
    service = Provider(bench.world, ends=lambda _: next(looks, {"status": "done", "text": "at last"}))
    _, rows = bench.run(service)
    assert bench.kept(rows) == [b"at last"]


def test_an_output_where_nobody_may_look_fails_and_says_why(bench: Bench) -> None:
    _, rows = bench.run(Provider(bench.world, ends=lambda _: {"status": "done", "url": "https://else/9"}))
    assert rows["reason"].to_list() == ["output_not_allowed: it lies at https://else/9"]
    assert bench.hosts.asked == ["https://else/9"]  # nothing changes by asking again


@pytest.mark.parametrize(
    ("got", "why"),
    [(Response(403, {}, b""), "http_403"), (NoAnswer("unreachable", left=True), "unreachable")],
)
def test_a_host_that_does_not_give_it_is_asked_three_times_and_is_not_the_targets_fault(
    bench: Bench, got: Response | NoAnswer, why: str
) -> None:
    bench.hosts.holds["https://cdn/2"] = got
    service = Provider(bench.world, ends=lambda _: {"status": "done", "url": "https://cdn/2"})
    summary, rows = bench.run(service, target_patience_s=1.0)
    assert rows["reason"].to_list() == [f"output_unavailable: {why}"]
    assert len(bench.hosts.asked) == 3
    assert summary.answered["completed"] == 1


def test_an_output_that_took_all_its_time_is_not_tried_again(bench: Bench) -> None:
    bench.hosts.holds["https://cdn/2"] = TOO_SLOW
    _, rows = bench.run(Provider(bench.world, ends=lambda _: {"status": "done", "url": "https://cdn/2"}))
    assert rows["reason"].to_list() == ["output_unavailable: too_slow"]
    assert len(bench.hosts.asked) == 1


def test_without_fetching_an_output_is_left_alone(bench: Bench) -> None:
    service = Provider(bench.world, ends=lambda _: {"status": "done", "url": "https://else/9"})
    assert bench.run(service, fetch_outputs=False)[0].counts["completed"] == 1
    assert bench.hosts.asked == []


def test_outputs_whose_time_is_up_soonest_come_first(bench: Bench) -> None:
    bench.text += "[outputs]\nlifetime_s = 3600\n"
    bench.hosts.holds = {f"https://cdn/{number}": b"x" for number in range(1, 13)}

    def ended(number: int) -> dict[str, Any]:
        return {"status": "done", "url": f"https://cdn/{number}", "ended": f"2026-01-01T00:{30 - number:02d}:00Z"}

    summary, _ = bench.run(Provider(bench.world, ends=ended), 12, per_s=1000.0)
    assert summary.counts["completed"] == 12
    order = [int(url.rpartition("/")[2]) for url in bench.hosts.asked]
    # The first four were taken when they were the only ones; of the rest the last ended first.
    assert order[4:] == sorted(order[4:], reverse=True)


def test_moderation_is_an_outcome_of_its_own(bench: Bench) -> None:
    ends = {
        1: {"status": "done", "flagged": True, "why": "unsafe picture", "seconds": 3},
        2: {"status": "broken", "flagged": "nsfw"},
        3: {"status": "broken", "why": "out of memory", "seconds": 4},
        4: {"status": "done", "text": "fine"},
    }
    summary, rows = bench.run(Provider(bench.world, ends=ends.__getitem__), 4, per_s=100.0)
    assert rows["state"].to_list() == ["failed", "failed", "failed", "completed"]
    assert rows["reason"].to_list() == ["moderation: unsafe picture", "moderation", "out of memory", None]
    assert (summary.answered["refused"], summary.answered["failed"], summary.counts["failed"]) == (2, 1, 3)
    attempts = read_attempts(bench.drive_dir)
    assert attempts["outcome"].to_list() == ["refused", "refused", "failed", "completed"]
    assert attempts["provider"].unique().to_list() == [VARIANT.split(":")[-3]]
    assert attempts["sku"].unique().to_list() == ["p1:second"]
    assert attempts["quantity"].to_list() == ["1.5", None, "2.0", None]  # what was turned down was run, and is billed
    assert refused_in_feed(bench) == 0


def test_moderation_of_the_submission_itself_is_told_from_other_refusals(bench: Bench) -> None:
    answers = iter(
        [
            Response(400, {}, b'{"error": {"message": "not this", "code": "unsafe"}}'),
            Response(400, {}, b'{"error": {"message": "no such size", "code": "size"}}'),
            Response(400, {}, b"[]"),
        ]
    )
    service = Provider(bench.world, answer=lambda request: next(answers))
    _, rows = bench.run(service, 3, per_s=10.0)
    assert rows["reason"].to_list() == ["moderation: http_400: not this", "http_400: no such size", "http_400"]
    attempts = read_attempts(bench.drive_dir)
    assert attempts["outcome"].to_list() == ["refused"] * 3
    unknown = "the target reports no usage for what its moderation turned down"
    assert attempts["missing_reason"].to_list() == [unknown, None, None]
    assert refused_in_feed(bench) == 2, "what was moderated may be billed: it is not among what cost nothing"


def refused_in_feed(bench: Bench) -> int:
    return sum(one.counts.get("refused", 0) for one in read_seconds(bench.drive_dir))


BROKE = b'{"error": {"message": "you have no money left", "code": "no_money"}}'
BUSY = b'{"error": {"message": "too many requests", "code": "rate"}}'


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        (Response(429, {}, BROKE), "http_429: you have no money left"),
        (Response(503, {"retry-after": "1"}, BROKE), "http_503: you have no money left"),
        (Response(429, {}, BROKE.replace(b"no_money", b"unsafe")), "moderation: http_429: you have no money left"),
    ],
)
def test_what_waiting_does_not_change_is_not_sent_again_and_holds_nobody_up(
    bench: Bench, refusal: Response, reason: str
) -> None:
    service = Provider(bench.world)
    asked: list[float] = []

    def refuse_the_first(request: Request) -> Response | None:
        if request.purpose == "submit":
            asked.append(bench.world.now_s)
        return refusal if len(asked) <= 4 else None

    service.answer = refuse_the_first
    summary, rows = bench.run(service, 8, max_in_flight=2, drain_limit_s=60.0)
    assert rows["reason"].to_list() == [reason] * 4 + [None] * 4
    assert len(asked) == 8
    assert asked[-1] - asked[0] < 1.0  # the gate stays open
    assert (summary.answered["refused"], summary.counts["completed"]) == (4, 4)


@pytest.mark.parametrize("per_s", [None, 10.0], ids=["closed loop", "open loop"])
def test_being_turned_away_for_ever_keeps_the_providers_words(bench: Bench, per_s: float | None) -> None:
    service = Provider(bench.world, answer=lambda _: Response(429, {}, BUSY))
    _, rows = bench.run(service, 2, per_s=per_s, drain_limit_s=3.0)
    assert rows["reason"].to_list() == ["http_429: too many requests"] * 2


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"error": 3}'])
def test_a_rate_limit_in_whatever_words_is_waited_for(bench: Bench, body: bytes) -> None:
    answers = iter([Response(429, {"retry-after": "2"}, body)])
    service = Provider(bench.world, answer=lambda _: next(answers, None))
    assert bench.run(service)[0].counts["completed"] == 1


def test_a_server_error_keeps_the_providers_words(bench: Bench) -> None:
    service = Provider(bench.world, answer=lambda _: Response(500, {}, BUSY))
    _, rows = bench.run(service)
    assert (rows["state"].item(), rows["reason"].item()) == ("failed", "http_500: too many requests")


def test_times_and_the_version_come_from_the_job(bench: Bench) -> None:
    times = {
        "took": "2026-01-01T00:00:00Z",
        "began": "2026-01-01T00:00:00.040Z",
        "ended": "2026-01-01T00:00:00.090Z",
    }
    _, rows = bench.run(Provider(bench.world, ends=lambda _: {"status": "done", "model": "upscale@3", **times}))
    assert rows.select("queue_ms", "run_ms", "version").row(0) == (40.0, 50.0, "upscale@3")
    assert rows["total_ms"].to_list() == [pytest.approx(94.0, abs=0.1)]


def test_a_version_that_only_the_parameters_tell_is_that_of_each_jobs_own(bench: Bench) -> None:
    bench.text = PRESET.replace('version = "model"', 'version = "$params.crf"')
    path = bench.folder / "provider.toml"
    path.write_text(bench.text)
    params = [None, '{"crf":"m2"}', '{"crf":7}', '{"crf":null}', '{"crf":"m3"}', '{"crf":"m4"}']
    plan = DrivePlan(
        run_id="run",
        target=TargetSpec(name="t", preset=str(path), base_url="http://127.0.0.1:9"),
        variants={VARIANT: {"crf": "m1"}},
        inputs={"i": DriveInput(uri="/clip", sha256="0" * 64, bytes=1, cluster="c")},
        dispatches=planned_dispatches(route=[VARIANT] * 6, input_id="i", due_ns=list(range(6)), params=params),
        limits=Limits(max_in_flight=6, poll_interval_s=0.3, drain_limit_s=5.0),
    )
    drive_dir = bench.folder / "drive"
    write_drive(drive_dir, plan)
    ends = {5: {"status": "broken"}}
    service = Provider(bench.world, ends=lambda number: ends.get(number, {"status": "done", "model": "not this"}))
    submitted = itertools.count(1)
    refusal = Response(400, {}, b"{}")
    service.answer = lambda request: refusal if request.purpose == "submit" and next(submitted) == 6 else None
    assert carry_on(drive_dir, bench.world, service) == "completed"
    close_drive(drive_dir, "completed")
    # What was not taken was done by no model.
    assert read_dispatches(drive_dir)["version"].to_list() == ["m1", "m2", None, None, "m3", None]


def test_a_version_is_an_expression_or_a_parameter_and_no_other_template(tmp_path: Path) -> None:
    path = tmp_path / "provider.toml"
    for version in ("$dispatch_id", "$params", "$params.a.b"):
        path.write_text(PRESET.replace('version = "model"', f'version = "{version}"'))
        with pytest.raises(InputRefused, match=r"job\.version"):
            load_preset(str(path))


FINAL = """
[submit]
method = "POST"
path = "/jobs"
body = { ref = "$dispatch_id" }
final = true
answer_within_s = 100
[job]
state = "status"
output_text = "text"
states = { done = "completed" }
"""


@pytest.mark.parametrize("per_s", [None, 10.0], ids=["closed loop", "open loop"])
def test_an_answer_that_is_the_job_may_take_longer_than_a_drive_usually_waits(
    bench: Bench, per_s: float | None
) -> None:
    bench.text = FINAL
    service = Provider(bench.world, answer_s=40.0)
    service.answer = lambda request: Response(200, {}, b'{"status": "done", "text": "a poem"}')
    summary, rows = bench.run(service, 2, per_s=per_s, drain_limit_s=5.0)
    assert summary.counts["completed"] == 2
    assert bench.kept(rows) == [b"a poem"] * 2
    assert 40_000 < rows["total_ms"].to_list()[0] < 41_000


def test_a_repeated_submission_carries_the_same_idempotency_key(bench: Bench) -> None:
    keyed = 'method = "POST"\nheaders = { Idempotency-Key = "$dispatch_id" }'
    bench.text = "[capabilities]\nidempotent_submit = true\n" + PRESET.replace('method = "POST"', keyed, 1)
    keys: list[str] = []

    def lose_the_first(request: Request) -> NoAnswer | None:
        if request.purpose == "submit":
            keys.append(request.headers["Idempotency-Key"])
        return NoAnswer("timeout", left=True) if len(keys) == 1 else None

    service = Provider(bench.world, answer=lose_the_first)
    assert bench.run(service)[0].counts["completed"] == 1
    assert len(keys) == 2
    assert len(set(keys)) == 1


def test_a_job_without_an_id_cannot_be_cancelled_and_nobody_tries(bench: Bench) -> None:
    bench.text += '[cancel]\nmethod = "DELETE"\npath = "/jobs/$job_id"\n'
    paths: list[str] = []

    service = Provider(bench.world, answer=lambda request: paths.append(request.path), answer_s=10.0)
    summary, _ = bench.run(service, drain_limit_s=2.0)
    assert summary.counts["unknown"] == 1
    assert paths == ["/jobs"]


def with_result(bench: Bench) -> Bench:
    bench.text += RESULT
    return bench


def test_a_result_brings_the_output(bench: Bench) -> None:
    service = Provider(bench.world, results=lambda _: Response(200, {}, b'{"video": "https://cdn/1", "model": "m1"}'))
    _, rows = with_result(bench).run(service)
    assert bench.kept(rows) == [b"one"]
    assert rows["version"].to_list() == ["m1"]


def test_a_result_can_be_a_failure_or_a_refusal_even_under_load(bench: Bench) -> None:
    results = {
        1: Response(422, {}, b'{"error": {"message": "face found", "code": "unsafe"}}'),
        2: Response(500, {}, b'{"error": {"message": "model crashed"}}'),
        3: Response(200, {}, b"{}"),
    }
    service = Provider(bench.world, results=results.__getitem__)
    summary, rows = with_result(bench).run(service, 3, per_s=100.0, fetch_outputs=False)
    assert rows["reason"].to_list() == ["moderation: http_422: face found", "http_500: model crashed", None]
    assert (summary.answered["refused"], summary.answered["failed"], summary.answered["completed"]) == (1, 1, 1)
    assert service.requested["result"] == 1 + 3 + 1  # a server error may be of the way


@pytest.mark.parametrize("status", [429, 503])
def test_a_result_that_waiting_does_not_change_is_asked_for_once(bench: Bench, status: int) -> None:
    service = Provider(bench.world, results=lambda _: Response(status, {}, BROKE))
    _, rows = with_result(bench).run(service)
    assert rows["reason"].to_list() == [f"http_{status}: you have no money left"]
    assert service.requested["result"] == 1


@pytest.mark.parametrize(
    ("got", "why"),
    [
        (Response(200, {}, b"<html>"), "The target's answer cannot be understood: it is not JSON."),
        (NoAnswer("timeout", left=True), "timeout"),
    ],
)
def test_a_result_that_cannot_be_had_fails_the_dispatch(bench: Bench, got: Response | NoAnswer, why: str) -> None:
    service = Provider(bench.world, results=lambda _: got)
    _, rows = with_result(bench).run(service)
    assert rows["reason"].to_list() == [f"result_unavailable: {why}"]
    assert service.requested["result"] == 3


def test_a_result_that_is_asked_for_too_soon_is_waited_for(bench: Bench) -> None:
    answers = iter([Response(429, {"retry-after": "2"}, b"")] * 5)
    fine = Response(200, {}, b'{"video": "https://cdn/1"}')
    began = bench.world.now_s
    _, rows = with_result(bench).run(Provider(bench.world, results=lambda _: next(answers, fine)), drain_limit_s=30.0)
    assert bench.kept(rows) == [b"one"]
    assert bench.world.now_s - began > 10.0
