"""`sandbox.run_python` over a played sandbox: what it is asked, and how its answers are shown."""

import asyncio
import base64
import struct
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from app.kernel.errors import Code
from app.kernel.principal import Principal
from app.proxy import ToolCall, isolation_of, sandbox_tool, telling_to
from app.sandbox import (
    Capabilities,
    Ended,
    Event,
    Limits,
    OutputFile,
    Printed,
    Sandbox,
    SandboxStatus,
    Shown,
    TaskResult,
    TaskSpec,
)
from tests.proxy.harness import USER, World, running

pytestmark = pytest.mark.anyio


def png(width: int, height: int) -> bytes:
    """The begin of a picture of that size, as far as anybody here looks at it."""
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", width, height) + b"x" * 40


def jpeg(width: int, height: int) -> bytes:
    """As `png`; the size comes behind a segment of another kind."""
    frame = struct.pack(">HHBHH", 0xFFC2, 17, 8, height, width)
    return b"\xff\xd8\xff\xe0\0\x04ab" + frame + b"x" * 40


PNG, JPEG = png(640, 480), jpeg(640, 480)
SVG = b'<?xml version="1.0"?>\n<!-- by hand -->\n<svg xmlns="http://www.w3.org/2000/svg"/>'
TOOL = "sandbox.run_python"
DROPPED = """\
7
Not among the files: a: too large.
There may be 200 files of together 366.2 KiB."""


def file(name: str, content: bytes) -> OutputFile:
    return OutputFile(name, "0" * 64, len(content), content)


class Played(Sandbox):
    """Ends every task with `result`, after `events`; keeps the tasks and their inputs."""

    def __init__(self) -> None:
        super().__init__([], Limits(wall_s=20))
        self.result = TaskResult("ok", 0, executor="played", level="none")
        self.events: list[Event] = []
        self.specs: list[TaskSpec] = []
        self.inputs: dict[str, bytes] = {}
        self.gate: asyncio.Event | None = None

    def status(self) -> SandboxStatus:
        return SandboxStatus(True, "played", level="none")

    def capabilities(self) -> Capabilities:
        return Capabilities("played", (), (), "3.11.2", {"numpy": "2.4.6", "six": "1.17.0"})

    async def run(self, spec: TaskSpec) -> TaskResult:
        self.specs.append(spec)
        self.inputs = {one.name: one.path.read_bytes() for one in spec.input_files}
        return self.result

    async def stream(self, spec: TaskSpec) -> AsyncGenerator[Event, None]:
        result = await self.run(spec)
        for event in self.events:
            yield event
        if self.gate is not None:
            await self.gate.wait()
        yield Ended(result)


@pytest.fixture
def sandbox() -> Played:
    return Played()


@pytest.fixture
async def world(sandbox: Played) -> AsyncIterator[World]:
    notes = ["Egress policies: bio."]
    tool = sandbox_tool(sandbox, output_limit=1_000_000, notes=notes, is_open=True)
    async with running(builtins=[tool]) as opened:
        yield opened


async def called(world: World, **given: Any) -> dict[str, Any]:
    result = await world.call(TOOL, **({"code": "1"} | given))
    assert result.structured is not None
    return result.structured


async def test_pictures_are_shown_and_are_files(world: World, sandbox: Played) -> None:
    files = tuple(
        file(name, content)
        for name, content in (("a.png", PNG), ("b.jpg", JPEG), ("c.svg", SVG), ("d.txt", b"text"))
    )
    names = tuple(one.name for one in files)
    sandbox.result = replace(sandbox.result, files=files, plots=names, stdout="seen\n")
    result = await world.call(TOOL, code="1")
    text, *pictures = result.content
    assert [one["mimeType"] for one in pictures] == ["image/png", "image/jpeg", "image/svg+xml"]
    assert base64.b64decode(pictures[0]["data"]) == PNG
    assert text["text"].startswith("seen\n")
    assert "1 more of the 4 pictures" in text["text"]
    assert result.structured is not None
    assert result.structured["plots"] == list(names)
    assert [one["name"] for one in result.structured["files"]] == list(names)


async def test_pictures_take_a_bounded_part_of_the_answer(world: World, sandbox: Played) -> None:
    large = PNG + b"x" * 100_000
    files = (file("a.png", large), file("b.png", large), file("c.png", PNG))
    sandbox.result = replace(sandbox.result, files=files, plots=("a.png", "b.png", "c.png"))
    result = await world.call(TOOL, code="1")
    shown = [len(base64.b64decode(one["data"])) for one in result.content[1:]]
    assert shown == [len(large), len(PNG)]


@pytest.mark.parametrize(
    "content",
    [
        b"<html><svg", b"", b"GIF89a", b"text <svg>", b"<a/>", png(0, 10), png(10, 8001),
        png(2**31, 10), png(10, 10)[:20], b"\x89PNG\r\n\x1a\n" + b"x" * 40, jpeg(0, 10),
        jpeg(65_535, 10), jpeg(10, 10)[:12], b"\xff\xd8" + b"\xff\xe0\0\0" * 5000,
        b'<!DOCTYPE svg [<!ENTITY a "b">]><svg>&a;</svg>',
    ],
)  # fmt: skip
async def test_what_is_no_picture_is_not_shown_as_one(
    world: World, sandbox: Played, content: bytes
) -> None:
    sandbox.result = replace(sandbox.result, files=(file("a.png", content),), plots=("a.png",))
    result = await world.call(TOOL, code="1")
    assert [one["type"] for one in result.content] == ["text"]


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ({"stdout": "4\n"}, "4\n"),
        ({"stdout": "4", "value": "'x'"}, "4\n'x'"),
        ({"stderr": "warning\n"}, "warning\n"),
        ({"value": "7"}, "7"),
        ({}, "The code ended with status ok and printed nothing."),
        (
            {"status": "error", "stdout": "a\n", "stderr": "Boom\n"},
            "a\nBoom\nThe code ended with status error.",
        ),
        (
            {"dropped": ("a: too large",), "value": "7"},
            DROPPED,
        ),
        ({"stdout": "a\x00b"}, "a\u2400b"),
    ],
)
async def test_the_text_is_what_a_notebook_shows(
    world: World, sandbox: Played, result: dict[str, Any], text: str
) -> None:
    sandbox.result = replace(sandbox.result, **result)
    answer = await world.call(TOOL, code="1")
    assert answer.content == [{"type": "text", "text": text}]
    assert answer.structured is not None
    assert answer.structured["value"] == result.get("value")


async def test_a_long_text_is_cut_and_says_so(world: World, sandbox: Played) -> None:
    sandbox.result = replace(sandbox.result, stdout="x" * 150_000)
    answer = await world.call(TOOL, code="1")
    assert len(answer.content[0]["text"]) < 101_000
    assert "left out here" in answer.content[0]["text"]
    assert answer.structured is not None
    assert len(answer.structured["stdout"]) == 150_000


async def test_of_a_long_text_the_error_is_shown(world: World, sandbox: Played) -> None:
    sandbox.result = replace(sandbox.result, status="error", stdout="x" * 10**6, stderr="Boom\n")
    text = (await world.call(TOOL, code="1")).content[0]["text"]
    assert text.endswith("Boom\nThe code ended with status error.")


@pytest.mark.parametrize("printed", ["\x01", "x", "\U0001f9ec", "x\x01"])
async def test_no_answer_is_too_large_to_be_given(
    world: World, sandbox: Played, printed: str
) -> None:
    text = printed * (2**20 // len(printed.encode()))
    files = tuple(file(f"{i}.png", PNG + b"x" * 100_000) for i in range(3))
    sandbox.result = replace(
        sandbox.result, stdout=text, stderr=text, value=text[:50_000], files=files,
        plots=tuple(one.name for one in files),
    )  # fmt: skip
    answer = await called(world)
    assert (answer["is_stdout_truncated"], answer["is_stderr_truncated"]) == (True, True)
    assert [one["size"] for one in answer["files"]] == [one.size for one in files]
    for name in ("stdout", "stderr"):
        assert text.startswith(answer[name])
        assert len(answer[name]) > 10_000


@pytest.mark.parametrize(
    ("result", "said"),
    [
        ({"status": "timeout"}, "It had 3 seconds, and `timeout_s` may be up to 20"),
        ({"status": "oom"}, "It may use 2 GiB of memory"),
        ({"status": "output_limit"}, "It may print 1 MiB"),
        ({"status": "killed"}, "run it again"),
        ({"status": "error", "exit_code": -11}, "by SIGSEGV"),
        ({"status": "error", "exit_code": -63}, "by signal 63"),
        (
            {"status": "error", "stderr": "x\nModuleNotFoundError: No module named 'Bio'\n"},
            "Name the package that has this module in `requirements`.",
        ),
        (
            {"status": "error", "stderr": "URLError: [Errno -3] Temporary failure in name res"
             "olution"},
            "unless `egress` names a policy",
        ),
        (
            {"status": "error", "stderr": "FileNotFoundError: [Errno 2] No such file: 'b'\n"},
            "This call's `input_files`: /task/input/a.csv.",
        ),
        ({"dropped": tuple(f"{i}: too many files" for i in range(9))}, "4: too many files; and 4"),
    ],
)  # fmt: skip
async def test_the_text_says_what_to_do_next(
    world: World, sandbox: Played, result: dict[str, Any], said: str
) -> None:
    sandbox.result = replace(sandbox.result, **result)
    given = {"code": "1", "input_files": [{"name": "a.csv", "content": "1"}], "timeout_s": 3}
    answer = await world.proxy.call(ToolCall(USER, TOOL, given))
    assert said in answer.content[0]["text"]


async def test_code_with_a_way_out_is_not_told_that_it_has_none(
    world: World, sandbox: Played
) -> None:
    failed = "gaierror: [Errno -3] Temporary failure in name resolution"
    sandbox.result = replace(sandbox.result, status="error", stderr=failed)
    text = (await world.call(TOOL, code="1", egress="bio")).content[0]["text"]
    assert text == f"{failed}\nThe code ended with status error."


async def test_files_come_inline_and_by_reference(
    world: World, sandbox: Played, tmp_path: Path
) -> None:
    (tmp_path / "stored").write_bytes(b"stored")
    given = [
        {"name": "a.txt", "content": "Grüße"},
        {"name": "b.bin", "content_base64": base64.b64encode(b"\x00\xff").decode()},
        {"name": "c", "file_id": world.add_file(USER, tmp_path / "stored")},
        {"name": "d", "content": ""},
    ]
    await called(world, input_files=given)
    assert sandbox.inputs == {
        "a.txt": "Grüße".encode(), "b.bin": b"\x00\xff", "c": b"stored", "d": b"",
    }  # fmt: skip
    kept = [one.path for one in sandbox.specs[0].input_files]
    assert [path.exists() for path in kept] == [False, False, True, False]


@pytest.mark.parametrize(
    ("item", "pointer"),
    [
        ({"name": "a"}, "/input_files/1"),
        ({"name": "a", "content": "", "content_base64": ""}, "/input_files/1"),
        ({"name": "a", "content_base64": "no base64!"}, "/input_files/1/content_base64"),
        ({"name": "a", "content_base64": "é"}, "/input_files/1/content_base64"),
    ],
)
async def test_a_file_must_be_exactly_one_thing(
    world: World, sandbox: Played, item: dict[str, str], pointer: str
) -> None:
    given = [{"name": "first", "content": ""}, item]
    error = await world.refused(TOOL, code="1", input_files=given)
    assert error.code is Code.INVALID_INPUT
    assert error.details["pointer"] == pointer
    assert error.hint
    assert sandbox.specs == []


async def test_what_is_asked_reaches_the_sandbox(world: World, sandbox: Played) -> None:
    await called(world, code="x", requirements=["numpy"], egress="bio", session_id="s", timeout_s=3)
    await called(world, timeout_s=1000)
    first, second = sandbox.specs
    assert (first.code, first.requirements, first.egress) == ("x", ("numpy",), "bio")
    assert (first.session_id, first.limits.wall_s) == ("s", 3)
    assert (second.session_id, second.egress, second.limits.wall_s) == (None, None, 20)
    assert first.limits.output_bytes <= 1_000_000 // 2


async def test_sessions_are_the_callers_own(world: World, sandbox: Played) -> None:
    other, job = Principal("user", uuid4()), uuid4()
    for principal, job_id in ((USER, None), (USER, job), (other, None), (USER, None)):
        call = ToolCall(principal, TOOL, {"code": "1", "session_id": "s"}, job_id=job_id)
        await world.proxy.call(call)
    owners = [spec.owner for spec in sandbox.specs]
    assert len(set(owners)) == 3
    assert owners[0] == owners[3]


async def test_the_answer_says_what_isolated_the_code(world: World, sandbox: Played) -> None:
    sandbox.result = replace(sandbox.result, is_warm=True, session_runs=2)
    answer = await called(world)
    assert (answer["executor"], answer["level"]) == ("played", "none")
    assert (answer["is_warm"], answer["session_runs"]) == (True, 2)
    assert isolation_of(TOOL, answer) == {"executor": "played", "level": "none"}
    assert isolation_of("other.tool", answer) == {}
    assert isolation_of(TOOL, None) == {}


async def test_the_description_says_what_isolates_code_here(
    world: World, sandbox: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def description() -> str:
        (listing,) = await world.proxy.listings()
        return listing.definitions[0].description

    assert "Isolation here: none (played)." in await description()
    assert "Egress policies: bio." in await description()
    assert "Installed: numpy==2.4.6.\nLimits: 20 seconds, 2 GiB of memory" in await description()
    monkeypatch.setattr(sandbox, "status", lambda: SandboxStatus(False))
    assert "cannot be isolated" in await description()


class Heard:
    """Takes progress; `seen` tells that something came."""

    def __init__(self) -> None:
        self.told: list[tuple[float, str]] = []
        self.seen = asyncio.Event()

    async def __call__(self, progress: float, total: float | None, message: str | None) -> None:
        assert total is None
        self.told.append((progress, message or ""))
        self.seen.set()


async def test_what_is_printed_is_told_while_it_runs(world: World, sandbox: Played) -> None:
    heard, sandbox.gate = Heard(), asyncio.Event()
    sandbox.events = [
        Printed("stdout", "one\n"), Printed("stderr", "two\n"), Shown(file("p.png", PNG)),
    ]  # fmt: skip
    with telling_to(heard):
        calling = asyncio.create_task(called(world))
    await heard.seen.wait()
    assert not calling.done()
    sandbox.gate.set()
    await calling
    assert "".join(text for _, text in heard.told) == "one\ntwo\n[p.png]\n"
    progress = [amount for amount, _ in heard.told]
    assert progress == sorted(set(progress))
    assert progress[-1] == len("one\ntwo\n[p.png]\n")


async def test_long_output_is_told_in_pieces(world: World, sandbox: Played) -> None:
    heard = Heard()
    sandbox.events = [Printed("stdout", "x" * 50_000)]
    with telling_to(heard):
        await called(world)
    assert [len(text) for _, text in heard.told] == [16_000, 16_000, 16_000, 2_000]


async def test_a_client_that_is_gone_costs_no_result(world: World, sandbox: Played) -> None:
    async def gone(progress: float, total: float | None, message: str | None) -> None:
        raise ConnectionError

    sandbox.events = [Printed("stdout", "x")]
    with telling_to(gone):
        assert (await called(world))["status"] == "ok"
