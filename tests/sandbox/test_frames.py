"""The host's end of the wire believes nothing it is told."""

import asyncio

import pytest

from app.sandbox import Limits
from app.sandbox.executors.frames import FrameError, Report, read_report

pytestmark = pytest.mark.anyio

NONCE = bytes(range(16))
HEAD = ["ok", "0", "0.5", "1.5", "1000"]


async def read(fields: list[str], content: bytes = b"", nonce: bytes = NONCE) -> Report:
    reader = asyncio.StreamReader()
    parts = [field.encode() for field in fields]
    body = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    reader.feed_data(nonce + len(body).to_bytes(4, "big") + body + content)
    reader.feed_eof()
    return await read_report(reader, NONCE, Limits(files=2, output_bytes=100))


async def test_a_good_report_is_read() -> None:
    report = await read([*HEAD, "1", "a/b.txt", "3", "link: symbolic link"], b"abc")
    assert (report.status, report.exit_code, report.usage.cpu_s) == ("ok", 0, 0.5)
    assert [(file.name, file.content) for file in report.files] == [("a/b.txt", b"abc")]
    assert report.dropped == ("link: symbolic link",)


async def test_another_nonce_is_refused() -> None:
    with pytest.raises(FrameError, match="nonce"):
        await read([*HEAD, "0"], nonce=bytes(16))


@pytest.mark.parametrize(
    "fields",
    [
        [],
        ["infra_error", *HEAD[1:], "0"],
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
async def test_a_bad_report_is_refused(fields: list[str]) -> None:
    with pytest.raises(FrameError):
        await read(fields, bytes(200))


async def test_a_report_that_stops_is_incomplete() -> None:
    with pytest.raises(asyncio.IncompleteReadError):
        await read([*HEAD, "1", "a", "50"], bytes(10))


async def test_a_huge_head_is_refused_unread() -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(NONCE + b"\xff\xff\xff\xff")
    with pytest.raises(FrameError, match="fields"):
        await read_report(reader, NONCE, Limits())
