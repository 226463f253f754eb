"""The host's end of the wire believes nothing it is told."""

import asyncio
import hashlib
import marshal

import pytest

from app.sandbox import Limits
from app.sandbox.executors import frames
from app.sandbox.executors.frames import FrameError, Report

pytestmark = pytest.mark.anyio

NONCE = bytes(range(16))
HEAD = ["ok", "0", "0.5", "1.5", "1000"]
LIMITS = Limits(files=2, output_bytes=100)


def frame(kind: bytes, payload: bytes = b"") -> bytes:
    return kind + len(payload).to_bytes(4, "big") + payload


def stream(*parts: bytes) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    reader.feed_data(b"".join(parts))
    reader.feed_eof()
    return reader


def read(fields: list[str], nonce: bytes = NONCE) -> Report:
    parts = [field.encode() for field in fields]
    body = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return frames.read_report(nonce + body, NONCE, LIMITS)


def test_a_message_is_a_length_and_plain_values() -> None:
    data = frames.message({"code": "pass", "files": [("a", 1)]})
    assert int.from_bytes(data[:4], "big") == len(data) - 4
    assert marshal.loads(data[4:]) == {"code": "pass", "files": [("a", 1)]}


async def test_a_good_report_is_read_with_its_files() -> None:
    report = read([*HEAD, "2", "a/b.txt", "3", "empty", "0", "link: symbolic link"])
    assert (report.status, report.exit_code, report.usage.cpu_s) == ("ok", 0, 0.5)
    assert report.dropped == ("link: symbolic link",)
    files = await frames.read_files(stream(frame(b"f", b"ab"), frame(b"f", b"c")), report, LIMITS)
    assert [(file.name, file.content, file.size) for file in files] == [
        ("a/b.txt", b"abc", 3), ("empty", b"", 0),
    ]  # fmt: skip
    assert files[0].sha256 == hashlib.sha256(b"abc").hexdigest()


@pytest.mark.parametrize("nonce", [bytes(16), NONCE[:8], b""])
def test_another_nonce_is_refused(nonce: bytes) -> None:
    with pytest.raises(FrameError, match="nonce"):
        read([*HEAD, "0"], nonce)


@pytest.mark.parametrize(
    "fields",
    [
        [],
        ["infra_error", *HEAD[1:], "0"],
        ["output_limit", *HEAD[1:], "0"],
        [*HEAD, "many"],
        [*HEAD, "5", "a"],
        [*HEAD, "1", "../a", "0"],
        [*HEAD, "1", "a", "-1"],
        [*HEAD, "1", "a", "101"],
        [*HEAD, "2", "a", "60", "b", "60"],
        [*HEAD, "3", "a", "0", "b", "0", "c", "0"],
        [*HEAD, "2", "a", "0", "a", "0"],
    ],
)
def test_a_bad_report_is_refused(fields: list[str]) -> None:
    with pytest.raises(FrameError):
        read(fields)


def test_a_cut_field_is_refused() -> None:
    with pytest.raises(FrameError, match="malformed"):
        frames.read_report(NONCE + b"\0\0\0\x09ok", NONCE, LIMITS)


@pytest.mark.parametrize(
    "told",
    [frame(b"f", b"abcd"), frame(b"f"), frame(b"o", b"abc"), frame(b"T", b"abc")],
)
async def test_content_that_is_not_the_reports_is_refused(told: bytes) -> None:
    with pytest.raises(FrameError):
        await frames.read_files(stream(told, bytes(50)), read([*HEAD, "1", "a", "3"]), LIMITS)


async def test_content_that_stops_is_incomplete() -> None:
    with pytest.raises(asyncio.IncompleteReadError):
        await frames.read_files(stream(frame(b"f", b"a")), read([*HEAD, "1", "a", "3"]), LIMITS)


@pytest.mark.parametrize("kind", [b"W", b"R", b"E", b"o", b"e", b"p", b"v", b"f", b"T", b"x"])
async def test_a_huge_frame_is_refused_unread(kind: bytes) -> None:
    with pytest.raises(FrameError, match="bytes of"):
        await frames.read_frame(stream(kind + b"\xff\xff\xff\xff"), LIMITS)


@pytest.mark.parametrize("kind", [b"\0", b"w", b"\n"])
async def test_an_unknown_frame_is_refused(kind: bytes) -> None:
    with pytest.raises(FrameError):
        await frames.read_frame(stream(frame(kind)), LIMITS)


def test_a_picture_is_a_plain_name_and_bytes() -> None:
    picture = frames.read_picture(b"\0\x05a.png" + b"\x89PNG")
    assert (picture.name, picture.content, picture.size) == ("a.png", b"\x89PNG", 4)


@pytest.mark.parametrize(
    "payload", [b"", b"\0", b"\0\x00x", b"\0\x09a.png", b"\0\x04../a", b"\0\x03a/b", b"\0\x01\xff"]
)
def test_a_picture_of_a_bad_name_is_refused(payload: bytes) -> None:
    with pytest.raises(FrameError):
        frames.read_picture(payload)
