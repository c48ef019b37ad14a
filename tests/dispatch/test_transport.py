"""The real HTTP client against a real server with bad manners."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from pointsman.dispatch.masking import Mask
from pointsman.dispatch.protocol import Request, Response
from pointsman.dispatch.transport import TOO_SLOW, Fetched, HttpTransport, NoAnswer
from pointsman.settings import Secret
from tests.dispatch.loopback import Say, http, listening

T = TypeVar("T")
GET = Request("GET", "/x", ())
SECRET = Secret("s3cret")


def using(url: str, use: Callable[[HttpTransport], Awaitable[T]], *, secret: Secret | None = None) -> T:
    headers = {"X-Key": secret} if secret else {}

    async def run() -> T:
        transport = HttpTransport(url, headers=headers, mask=Mask(headers.values()), timeout_s=0.4)
        try:
            return await use(transport)
        finally:
            await transport.close()

    return asyncio.run(run())


def test_a_request_arrives_as_it_was_written_and_carries_the_secret() -> None:
    with listening(lambda _: http(202, b"taken")) as server:
        sent = Request("POST", "/v1/jobs?a=b", (), {"content-type": "application/json"}, b'{"a": 1}')
        got = using(server.url, lambda transport: transport.send(sent), secret=SECRET)
    assert got == Response(202, {}, b"taken")
    (asked,) = server.asked
    assert (asked.method, asked.path, asked.body) == ("POST", "/v1/jobs?a=b", b'{"a": 1}')
    assert asked.headers["content-type"] == "application/json"
    assert asked.headers["x-key"] == "s3cret"


def test_a_redirect_is_an_answer_and_the_secret_stays_where_it_belongs() -> None:
    with listening(lambda _: http(200)) as elsewhere, listening(lambda _: http(302, Location=elsewhere.url)) as server:
        got = using(server.url, lambda transport: transport.send(GET), secret=SECRET)
    assert isinstance(got, Response)
    assert got.status == 302
    assert elsewhere.asked == []


def test_retry_after_is_passed_on() -> None:
    with listening(lambda _: http(429, Retry_After="7")) as server:
        got = using(server.url, lambda transport: transport.send(GET))
    assert got == Response(429, {"retry-after": "7"}, b"")


@pytest.mark.parametrize(
    ("say", "expected"),
    [
        (Say(b"", after_s=2.0), NoAnswer("timeout", left=True)),
        (Say(b"", reset=True), NoAnswer("connection_lost", left=True)),
        (Say(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhalf", reset=True), NoAnswer("connection_lost", left=True)),
        (Say(b"\x00\x01 nonsense\r\n\r\n", reset=True), NoAnswer("connection_lost", left=True)),
    ],
    ids=["silence", "reset", "half an answer", "no HTTP"],
)
def test_whatever_is_not_an_answer_may_have_arrived(say: Say, expected: NoAnswer) -> None:
    with listening(lambda _: say) as server:
        assert using(server.url, lambda transport: transport.send(GET)) == expected


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_refused_connection_never_left(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    assert using(url, lambda transport: transport.send(GET)) == NoAnswer("unreachable", left=False)
    fetched = using(url, lambda transport: transport.fetch("/o", tmp_path / "o"))
    assert fetched == NoAnswer("unreachable", left=False)


def test_a_connection_that_is_not_accepted_in_time_never_left() -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        waiting = []
        for _ in range(4):  # more than it queues
            waiting.append(socket.socket())
            waiting[-1].setblocking(False)
            waiting[-1].connect_ex(deaf.getsockname())
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        got = using(url, lambda transport: transport.send(GET))
        for one in waiting:
            one.close()
    assert got == NoAnswer("unreachable", left=False)


def test_an_output_is_downloaded_and_hashed(tmp_path: Path) -> None:
    body = b"frame" * 100_000
    with listening(lambda _: http(200, body)) as server:
        got = using(server.url, lambda transport: transport.fetch("/o", tmp_path / "o"), secret=SECRET)
    assert got == Fetched(hashlib.sha256(body).hexdigest(), len(body))
    assert (tmp_path / "o").read_bytes() == body


@pytest.mark.parametrize(
    ("say", "expected"),
    [
        (http(404), Response(404, {}, b"")),
        (Say(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhalf", reset=True), NoAnswer("connection_lost", left=True)),
        (Say(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhalf"), NoAnswer("timeout", left=True)),
    ],
    ids=["not there", "cut off", "stalled"],
)
def test_an_output_that_does_not_arrive_whole_is_not_taken_for_one(
    tmp_path: Path, say: Say, expected: Response | NoAnswer
) -> None:
    with listening(lambda _: say) as server:
        assert using(server.url, lambda transport: transport.fetch("/o", tmp_path / "o")) == expected


def test_an_output_that_trickles_has_one_time_for_all_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pointsman.dispatch.transport.LONGEST_FETCH_S", 0.2)
    say = Say(http(200, b"x" * 1000).raw, at_once=100, trickle_s=0.02)
    with listening(lambda _: say) as server:
        assert using(server.url, lambda transport: transport.fetch("/o", tmp_path / "o")) == TOO_SLOW


def test_a_target_that_repeats_its_key_does_not_get_it_into_an_answer() -> None:
    with listening(lambda asked: http(401, f"wrong key: {asked.headers['x-key']}".encode())) as server:
        got = using(server.url, lambda transport: transport.send(GET), secret=SECRET)
    assert got == Response(401, {}, b"wrong key: ***")


def test_connections_are_used_again() -> None:
    async def several(transport: HttpTransport) -> None:
        for _ in range(5):
            await transport.send(GET)

    with listening(lambda _: http(200)) as server:
        using(server.url, several)
    assert len(server.asked) == 5
    assert server.connections == 1
