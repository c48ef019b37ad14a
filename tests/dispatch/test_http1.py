"""Reading HTTP/1.1 answers: the same answer whatever pieces it comes in, and nothing else taken for one."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.dispatch.http1 import AnswerReader

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;a=b\r\n world\r\n0\r\nX: y\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.0 200 OK\r\n\r\nhello"


def feed(reader: AnswerReader, raw: bytes, cuts: list[int] | None = None) -> str:
    """Feed `raw` cut at the given places; what the last piece led to."""
    progress = "more"
    edges = [0, *sorted(cuts or []), len(raw)]
    for begin, end in itertools.pairwise(edges):
        if begin < end and progress == "more":
            progress = reader.feed(raw[begin:end])
    return progress


@pytest.mark.parametrize(
    ("raw", "status", "body"),
    [
        (PLAIN, 200, b"hello"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", 304, b""),
        (b"HTTP/1.1 202\r\ncontent-length:0\r\n\r\n", 202, b""),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + PLAIN, 200, b"hello"),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno", 404, b"no"),
        (CHUNKED, 200, b"hello world"),
        (b"HTTP/1.1 500 X\r\nTransfer-Encoding: chunked\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n", 500, b"0123456789"),
    ],
)
@given(data=st.data())
def test_the_pieces_that_an_answer_comes_in_do_not_matter(
    raw: bytes, status: int, body: bytes, data: st.DataObject
) -> None:
    cuts = data.draw(st.lists(st.integers(1, len(raw) - 1), max_size=8))
    reader = AnswerReader()
    assert feed(reader, raw, cuts) == "done"
    assert reader.head is not None
    assert (reader.head.status, reader.body) == (status, body)
    assert reader.keeps_open


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=6), st.data())
def test_chunks_are_put_together_again_and_streamed_the_same(chunks: list[bytes], data: st.DataObject) -> None:
    framed = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + framed
    cuts = data.draw(st.lists(st.integers(1, len(raw) - 1), max_size=8))
    collected, streamed = AnswerReader(), bytearray()
    assert feed(collected, raw, cuts) == "done"
    assert feed(AnswerReader(streamed.extend), raw, cuts) == "done"
    assert collected.body == bytes(streamed) == b"".join(chunks)


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=5))
def test_no_bytes_whatever_make_it_fail(raw: bytes, cuts: list[int]) -> None:
    for before in (b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"):
        assert feed(AnswerReader(), before + raw, cuts) in ("more", "done", "bad")


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01\x02\r\n\r\n",
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: ٣\r\n\r\n".encode(),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n",
        b"x" * 70_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"0" * 70_000,
    ],
)
def test_what_is_no_answer_is_bad(raw: bytes) -> None:
    assert AnswerReader().feed(raw) == "bad"


@pytest.mark.parametrize(
    ("raw", "keeps_open"),
    [
        (PLAIN, True),
        (PLAIN.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), False),
        (PLAIN.replace(b"\r\n\r\n", b"\r\nConnection: Keep-Alive, Close\r\n\r\n"), False),
        (PLAIN.replace(b"\r\n\r\n", b"\r\nX-Door: close\r\n\r\n"), True),
        (PLAIN.replace(b"1.1", b"1.0"), False),
        (PLAIN.replace(b"1.1", b"1.0").replace(b"\r\n\r\n", b"\r\nConnection: keep-alive\r\n\r\n"), True),
        (PLAIN + b"HTTP/1.1 200 OK\r\n", False),
        (CHUNKED + b"HTTP/1.1 200 OK\r\n", False),
        (b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1", False),
    ],
)
def test_a_connection_is_used_again_only_when_it_is_clean(raw: bytes, keeps_open: bool) -> None:
    reader = AnswerReader()
    assert reader.feed(raw) == "done"
    assert reader.keeps_open is keeps_open


def test_only_an_answer_that_says_no_length_ends_with_the_connection() -> None:
    reader = AnswerReader()
    assert reader.feed(UNTIL_CLOSE) == "more"
    assert (reader.close(), reader.body, reader.keeps_open) == ("done", b"hello", False)
    for cut in (PLAIN[:-1], CHUNKED[:-1], PLAIN[:10], b""):
        reader = AnswerReader()
        if cut:
            assert reader.feed(cut) == "more"
        assert reader.close() == "bad"


def test_a_header_is_found_whatever_its_case_and_only_under_its_whole_name() -> None:
    reader = AnswerReader()
    reader.feed(b"HTTP/1.1 429 Slow Down\r\nX-Retry-After: 9\r\nRETRY-After:  7 \r\nContent-Length: 0\r\n\r\n")
    assert reader.head is not None
    assert reader.head.header("retry-after") == "7"
    assert reader.head.header("after") is None


def test_only_a_good_answer_is_streamed() -> None:
    streamed = bytearray()
    reader = AnswerReader(streamed.extend)
    assert reader.feed(PLAIN.replace(b"200", b"404")) == "done"
    assert (bytes(streamed), reader.body, reader.streams) == (b"", b"hello", False)


def test_an_answer_too_large_to_hold_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pointsman.dispatch.http1._LARGEST_BODY", 4)
    assert AnswerReader().feed(PLAIN) == "bad"
    streamed = bytearray()
    assert AnswerReader(streamed.extend).feed(PLAIN) == "done"
    assert streamed == b"hello"
