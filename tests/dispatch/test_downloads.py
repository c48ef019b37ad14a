"""Outputs at other places: which are allowed, what is followed, and who gets the key."""

from __future__ import annotations

import ast
import asyncio
import hashlib
import ipaddress
import socket
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from pointsman.dispatch import downloads as downloading
from pointsman.dispatch.downloads import MOST_REDIRECTS, Downloads, NotAllowed, is_allowed
from pointsman.dispatch.protocol import Response
from pointsman.dispatch.targets.policies import OutputsSection
from pointsman.dispatch.targets.spec import TargetSpec
from pointsman.dispatch.transport import TOO_SLOW, Fetched, NoAnswer
from pointsman.settings import Secret
from tests.dispatch.loopback import Asked, Loopback, Say, http, listening

PICTURE = b"picture" * 1000
HERE = ("127.0.0.0/8",)


@pytest.mark.parametrize(
    "address",
    [
        *("169.254.169.254", "169.254.170.2", "127.0.0.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1"),
        *("100.100.100.200", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fd00:ec2::254", "ff02::1"),
        *("::ffff:169.254.169.254", "::ffff:127.0.0.1", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1", "2002:7f00:1::"),
        "2001:0:4136:e378:8000:63bf:5601:5601",
    ],
)
def test_addresses_that_are_not_public_are_refused_in_every_disguise(address: str) -> None:
    assert not is_allowed(ipaddress.ip_address(address), [])


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"])
def test_public_addresses_are_allowed(address: str) -> None:
    assert is_allowed(ipaddress.ip_address(address), [])


def test_what_a_network_names_is_allowed_and_its_disguise_with_it() -> None:
    ours = [ipaddress.ip_network("10.0.0.0/8")]
    assert is_allowed(ipaddress.ip_address("10.1.2.3"), ours)
    assert is_allowed(ipaddress.ip_address("::ffff:10.1.2.3"), ours)
    assert not is_allowed(ipaddress.ip_address("192.168.0.1"), ours)


def downloads(base_url: str, *hosts: str, networks: tuple[str, ...] = HERE) -> Downloads:
    target = TargetSpec(name="t", preset="fixed", base_url=base_url, output_hosts=hosts, output_networks=networks)
    return Downloads(target, OutputsSection(), headers={"X-Key": Secret("s3cret")}, timeout_s=0.5)


def fetch(client: Downloads, url: str, into: Path) -> Fetched | Response | NoAnswer:
    return asyncio.run(client.fetch(url, into / "o"))


@pytest.fixture
def target() -> Iterator[Loopback]:
    with listening(lambda _: http(200, PICTURE)) as server:
        yield server


@pytest.fixture
def cdn() -> Iterator[Loopback]:
    with listening(lambda _: http(200, PICTURE)) as server:
        yield server


def test_the_targets_own_origin_gets_the_key_and_no_other_does(tmp_path: Path, target: Loopback, cdn: Loopback) -> None:
    client = downloads(target.url, "127.0.0.1")
    expected = Fetched(hashlib.sha256(PICTURE).hexdigest(), len(PICTURE))
    for server in (target, cdn):
        assert fetch(client, f"{server.url}/a b.png?x=1", tmp_path) == expected
        assert (tmp_path / "o").read_bytes() == PICTURE
    assert target.asked[0].headers["x-key"] == "s3cret"
    assert "x-key" not in cdn.asked[0].headers
    assert cdn.asked[0].path == "/a%20b.png?x=1"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://elsewhere.example/o", "elsewhere.example"),
        ("http://sub.127.0.0.1/o", "sub.127.0.0.1"),
        ("https://me:pw@127.0.0.1/o", "credentials"),
        ("ftp://127.0.0.1/o", "ftp"),
        ("file:///etc/passwd", "file"),
        ("//127.0.0.1/o", "relative"),
        ("http://[::1", "no URL"),
        ("http://127.0.0.1:99999/o", "no URL"),
    ],
)
def test_other_places_are_refused_and_named(tmp_path: Path, url: str, why: str) -> None:
    with pytest.raises(NotAllowed, match=why):
        fetch(downloads("http://127.0.0.1:9", "127.0.0.1"), url, tmp_path)


def test_an_output_without_tls_is_refused_when_the_target_has_it(tmp_path: Path) -> None:
    with pytest.raises(NotAllowed, match="unprotected"):
        fetch(downloads("https://api.example", "127.0.0.1"), "http://127.0.0.1/o", tmp_path)


@pytest.mark.parametrize(
    ("allowed", "host", "found"),
    [
        (".example.com", "a.b.example.com", True),
        (".example.com", "example.com", True),
        (".example.com", "badexample.com", False),
        ("example.com", "a.example.com", False),
        ("example.com", "EXAMPLE.com.", True),
    ],
)
def test_a_host_is_itself_and_a_suffix_is_all_below(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: str, host: str, found: bool
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(2, 1, 6, "", ("192.168.9.9", 80))])
    with pytest.raises(NotAllowed, match="not public" if found else "allow it by"):
        fetch(downloads("http://127.0.0.1:9", allowed, networks=()), f"http://{host}/o", tmp_path)


def test_an_allowed_name_that_leads_to_this_machine_is_refused(tmp_path: Path, cdn: Loopback) -> None:
    client = downloads("http://127.0.0.1:9", "localhost", networks=())
    with pytest.raises(NotAllowed, match=r"localhost is at (127\.0\.0\.1|::1), which is not public"):
        fetch(client, f"http://localhost:{cdn.port}/o", tmp_path)
    assert cdn.asked == []


def test_the_address_that_was_checked_is_the_one_that_is_used(
    tmp_path: Path, cdn: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that resolves differently each time is resolved once."""
    answers = iter(["127.0.0.1", "169.254.169.254", "169.254.169.254"])
    real = socket.getaddrinfo

    def rebinding(host: Any, port: Any, *rest: Any, **named: Any) -> Any:
        return real(next(answers) if host == "cdn.example" else host, port, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    got = fetch(downloads("http://127.0.0.1:9", "cdn.example"), f"http://cdn.example:{cdn.port}/o", tmp_path)
    assert isinstance(got, Fetched)
    with pytest.raises(NotAllowed, match=r"169\.254\.169\.254"):
        fetch(downloads("http://127.0.0.1:9", "cdn.example"), f"http://cdn.example:{cdn.port}/o", tmp_path)


def redirecting(place: str) -> Say:
    return http(302, Location=place)


def test_redirects_are_followed_to_where_it_is_allowed_and_lose_the_key(tmp_path: Path, cdn: Loopback) -> None:
    with listening(lambda _: redirecting(f"{cdn.url}/o")) as server:
        got = fetch(downloads(server.url, "127.0.0.1"), f"{server.url}/v1/files/1", tmp_path)
    assert isinstance(got, Fetched)
    assert server.asked[0].headers["x-key"] == "s3cret"
    assert "x-key" not in cdn.asked[0].headers


@pytest.mark.parametrize(
    "place", ["http://169.254.169.254/latest/meta-data", "http://10.0.0.1/", "http://other.example/"]
)
def test_redirects_elsewhere_are_refused(tmp_path: Path, place: str) -> None:
    with (
        listening(lambda _: redirecting(place)) as server,
        pytest.raises(NotAllowed),
    ):
        fetch(downloads(server.url, "169.254.169.254", "10.0.0.1"), f"{server.url}/o", tmp_path)


def test_redirects_in_a_circle_end(tmp_path: Path) -> None:
    with listening(lambda _: redirecting("/again")) as server:
        with pytest.raises(NotAllowed, match="redirects"):
            fetch(downloads(server.url), f"{server.url}/o", tmp_path)
        assert len(server.asked) == MOST_REDIRECTS + 1


@pytest.mark.parametrize(
    ("say", "expected"),
    [
        (http(404), Response(404, {}, b"")),
        (http(302), Response(302, {}, b"")),
        (Say(b"", after_s=2.0), NoAnswer("timeout", left=True)),
        (Say(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhalf", reset=True), NoAnswer("connection_lost", left=True)),
        (Say(b"\x00 nonsense\r\n\r\n", reset=True), NoAnswer("connection_lost", left=True)),
    ],
    ids=["not there", "nowhere", "silence", "cut off", "no HTTP"],
)
def test_an_output_that_does_not_arrive_whole_is_not_taken_for_one(
    tmp_path: Path, say: Say, expected: Response | NoAnswer
) -> None:
    with listening(lambda _: say) as server:
        assert fetch(downloads(server.url), f"{server.url}/o", tmp_path) == expected


def test_nobody_there_and_no_such_name_are_unreachable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(lambda _: http(200)) as gone:
        url = gone.url
    client = downloads("http://127.0.0.1:9", "127.0.0.1", "no-such-host.invalid")
    assert fetch(client, f"{url}/o", tmp_path) == NoAnswer("unreachable", left=True)

    def fails(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fails)
    assert fetch(client, "http://no-such-host.invalid/o", tmp_path) == NoAnswer("unreachable", left=True)


def test_a_download_that_nobody_waits_for_any_more_leaves_off(tmp_path: Path, target: Loopback) -> None:
    client = downloads(target.url)
    client.close()
    assert fetch(client, f"{target.url}/o", tmp_path) == NoAnswer("stopped", left=True)


@pytest.mark.parametrize("at_once", [0, 200], ids=["from the start", "in the body"])
def test_an_output_that_trickles_has_one_time_for_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr("pointsman.dispatch.downloads.LONGEST_FETCH_S", 0.2)
    say = Say(http(200, PICTURE).raw, at_once=at_once, trickle_s=0.02)
    with listening(lambda _: say) as server:
        began = monotonic()
        # Each byte comes long before the time for one wait is up.
        assert fetch(downloads(server.url), f"{server.url}/o", tmp_path) == TOO_SLOW
        assert monotonic() - began < 1.0


def test_redirects_and_what_they_lead_to_share_one_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pointsman.dispatch.downloads.LONGEST_FETCH_S", 0.25)
    with listening(lambda _: Say(redirecting("/again").raw, after_s=0.1)) as server:
        assert fetch(downloads(server.url), f"{server.url}/o", tmp_path) == TOO_SLOW
        assert 1 < len(server.asked) <= 3


def test_a_process_that_fetches_from_nowhere_else_does_not_load_what_that_takes() -> None:
    """It would cost every drive a tenth of a second at its start."""
    for path in Path(downloading.__file__).parent.rglob("*.py"):
        nodes = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
        at_the_start = " ".join(ast.unparse(node) for node in nodes)
        loads = "httpcore" in at_the_start or "dispatch.connecting" in at_the_start
        assert loads == (path.name == "connecting.py"), path


def test_an_output_without_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pointsman.dispatch.downloads.LARGEST_OUTPUT", 100)

    def answer(_: Asked) -> Say:
        return http(200, PICTURE)

    with listening(answer) as server:
        assert fetch(downloads(server.url), f"{server.url}/o", tmp_path) == Response(413, {}, b"")
