"""`uaol` as a person or a script runs it: real processes, their output, exit codes and end."""

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Awaitable, Callable
from io import StringIO
from pathlib import Path
from typing import IO, Any, NamedTuple
from uuid import uuid4

import httpx2
import psutil
import pytest
from rich.console import Console

from app.cli.rerun import is_same
from app.cli.serve import _guide
from tests.e2e.keeper import UAOL, environment, start
from tests.e2e.platform import BACKGROUND, PRICE, RECORD, Finished, Person, Platform, doors
from tests.e2e.test_bad_input import HBB, cds, genbank

pytestmark = pytest.mark.anyio
CLOSED = "http://127.0.0.1:9"
# One PAM in the coding part, before it a run of five: the one guide there is refused.
ONE_BAD_GUIDE = "atgaataataaattttttatatatacatatatggataataataaattatataataa"


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    stdout: str
    stderr: str


Uaol = Callable[..., Awaitable[Ended]]


async def run(surroundings: dict[str, str], *arguments: str) -> Ended:
    process = await asyncio.create_subprocess_exec(
        UAOL,
        *arguments,
        env=surroundings,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    stdout, stderr = await process.communicate()
    assert process.returncode is not None
    # No terminal, no colours: neither in what scripts read nor in what logs keep.
    assert b"\x1b" not in stdout + stderr
    assert b"Traceback" not in stderr, stderr.decode()
    return Ended(process.returncode, stdout.decode(), stderr.decode())


@pytest.fixture
def uaol(platform: Platform, alice: Person) -> Uaol:
    """Runs `uaol` for alice against the server; keywords change the environment."""

    async def command(*arguments: str, **changes: str) -> Ended:
        return await run(platform.environment(alice) | changes, *arguments)

    return command


async def test_help(uaol: Uaol) -> None:
    shown, version, task = await asyncio.gather(
        uaol("--help"), uaol("--version"), uaol("task", "run", "crispr_knockout", "--help")
    )
    assert (shown.code, version.code, task.code) == (0, 0, 0)
    names = re.findall(r"^  (\w+)  ", shown.stdout.partition("Commands:")[2], re.MULTILINE)
    assert {"serve", "up", "worker", "migrate", "demo", "doctor", "task", "tools"} <= set(names)
    assert re.fullmatch(r"uaol, version \d+\.\d+\.\d+\n", version.stdout)
    for option in ("--input", "--gene", "--background", "--guides", "--json"):
        assert option in task.stdout


async def test_looking_around(uaol: Uaol) -> None:
    templates, tools, called, jobs = await asyncio.gather(
        uaol("task", "templates"),
        uaol("tools", "list", "--json"),
        uaol("tools", "call", "sequence.gc_content", '{"sequence":"GATTACA"}'),
        uaol("task", "list", "--json"),
    )
    assert {one.code for one in (templates, tools, called, jobs)} == {0}
    assert re.search(r"^crispr_knockout +CRISPR knockout +5 *$", templates.stdout, re.MULTILINE)
    listed = {one["name"]: one["price_micro"] for one in json.loads(tools.stdout)}
    assert listed["crispr.find_off_targets"] == 50_000
    answer = json.loads(called.stdout)
    assert answer["counts"] == {"A": 3, "C": 1, "G": 1, "T": 2}
    assert answer["gc"] == pytest.approx(2 / 7)
    assert json.loads(jobs.stdout) == []


async def test_the_trace_of_a_workflow_names_its_steps(uaol: Uaol) -> None:
    count = {"tool": "sequence.gc_content", "arguments": {"sequence": "${{ input.dna }}"}}
    refused = {"tool": "sequence.translate", "arguments": {"sequence": "${{ input.digits }}"}}
    nodes = {"count": count, "refused": refused | {"on_error": "continue"}}
    given = {"dna": "GATTACA", "digits": "7"}
    asked = {"workflow": {"workflow": 1, "nodes": nodes}, "input": given, "wait": True}
    made = await uaol("tools", "call", "workflow.run", json.dumps(asked))
    assert made.code == 0, made.stderr
    told = await uaol("task", "trace", json.loads(made.stdout)["job_id"])
    assert re.search(r"^\S+  count starts$", told.stdout, re.MULTILINE), told.stdout
    assert re.search(r"^\S+  count is done \(\d+ ms\)$", told.stdout, re.MULTILINE), told.stdout
    assert re.search(r"^\S+  refused failed: .+ \[\w+\]$", told.stdout, re.MULTILINE), told.stdout


async def test_json_is_the_report_alone(
    platform: Platform, hbb: Finished, uaol: Uaol, alice: Person, books: Any, tmp_path: Path
) -> None:
    """And the same input, under other names and of another user, gives the same bytes."""
    before = await books(alice)
    record, out = tmp_path / "another name.gb", tmp_path / "out"
    record.write_bytes(RECORD.read_bytes())
    arguments = ["task", "run", "crispr_knockout", "--input", str(record), "--gene", "HBB"]
    arguments += ["--background", str(BACKGROUND), "--json", "--idempotency-key", uuid4().hex]
    first = await uaol(*arguments, "--out", str(out))
    async with doors(platform, hbb.owner) as way:
        expected = await way.files(hbb.job_id)
    assert (first.code, first.stdout) == (0, expected["report.json"].decode())
    made = {path.name: path.read_bytes() for path in out.iterdir()}
    assert made.keys() == expected.keys()
    assert [name for name in made if not is_same(name, expected[name], made[name])] == []
    assert {name for name in made if expected[name] != made[name]} <= {"provenance.json"}
    # The same key: the same job, no second charge, although its files were sent anew.
    again = await uaol(*arguments)
    assert (again.code, again.stdout) == (0, first.stdout)
    after = await books(alice)
    assert (after.captured, after.available) == (PRICE, before.available - PRICE)
    listed = await uaol("task", "list")
    assert len(re.findall(r"crispr_knockout +Success", listed.stdout)) == 1


async def test_a_failed_run_ends_with_1(uaol: Uaol, tmp_path: Path) -> None:
    record = tmp_path / "record.gb"
    record.write_bytes(genbank(ONE_BAD_GUIDE, cds(f"1..{len(ONE_BAD_GUIDE)}")))
    ended = await uaol("task", "run", "crispr_knockout", "--input", str(record), "--json")
    assert (ended.code, ended.stdout) == (1, "")
    assert "error [no_guide] " in ended.stderr


async def test_wrong_usage_ends_with_2(uaol: Uaol, tmp_path: Path) -> None:
    missing = str(tmp_path / "missing.gb")
    for ended in await asyncio.gather(
        uaol("tasks"),
        uaol("task", "run", "crispr_knockin"),
        uaol("task", "run", "crispr_knockout"),
        uaol("task", "run", "crispr_knockout", "--input", missing),
        uaol("task", "list", "--limit", "many"),
    ):
        assert (ended.code, ended.stdout) == (2, "")
        assert "Usage: uaol" in ended.stderr


async def test_what_is_missing_ends_with_3(uaol: Uaol) -> None:
    closed, nonsense = await asyncio.gather(
        uaol("tools", "list", UAOL_URL=CLOSED), uaol("tools", "list", UAOL_URL="nonsense")
    )
    for ended in (closed, nonsense):
        assert (ended.code, ended.stdout) == (3, "")
        assert "error [hub_unavailable] " in ended.stderr


async def test_what_is_refused_ends_with_4(uaol: Uaol, pauper: Person, tmp_path: Path) -> None:
    record = tmp_path / "record.gb"
    record.write_bytes(HBB)
    task = ["task", "run", "crispr_knockout", "--json", "--input", str(record), "--gene"]
    wanted = {
        "gene_not_found": uaol(*task, "TP53"),
        "insufficient_credits": uaol(*task, "HBB", UAOL_API_KEY=pauper.key),
        "unauthenticated": uaol("tools", "list", UAOL_API_KEY="uaol_wrong"),
        "tool_unknown": uaol("tools", "call", "sequence.gc_contents"),
        "invalid_input": uaol("tools", "call", "sequence.gc_content", "{"),
        "not_found": uaol("task", "cancel", str(uuid4())),
    }
    for code, ended in zip(wanted, await asyncio.gather(*wanted.values()), strict=True):
        assert (ended.code, ended.stdout) == (4, "")
        assert f"error [{code}] " in ended.stderr


@pytest.mark.usefixtures("sandboxed")
async def test_doctor(platform: Platform) -> None:
    well = await run(environment(platform.folder / "home"), "doctor")
    found = re.findall(r"^(ok|NO) +(\S+)", well.stdout, re.MULTILINE)
    assert {"disk", "port", "hub", "sandbox", "server"} == {what for _, what in found}
    assert (well.code, {state for state, _ in found}) == (0, {"ok"}), well.stdout
    assert re.search(r"^ok +server sandbox +1 tool +$", well.stdout, re.MULTILINE), well.stdout


async def test_doctor_finds_what_is_ill(platform: Platform, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ill = await run(environment(file / "home") | {"UAOL_PORT": port}, "doctor")
    found = re.findall(r"^(ok|NO) +(\S+) +(.*)$", ill.stdout, re.MULTILINE)
    wrong = {what: seen for state, what, seen in found if state == "NO"}
    assert (ill.code, list(wrong)) == (3, ["port", "hub"]), ill.stdout
    assert "Set UAOL_PORT" in wrong["port"]
    assert "UAOL_HOME" in wrong["hub"]


async def test_doctor_knows_a_server_of_its_own(platform: Platform, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    port = platform.url.rpartition(":")[2]
    ill = await run(environment(file / "home") | {"UAOL_PORT": port}, "doctor")
    assert re.search(r"^ok +port .* is this platform's", ill.stdout, re.MULTILINE), ill.stdout


class Up:
    """A running `uaol up`, what it has said, and every process that belongs to it."""

    def __init__(self, home: Path, log: IO[str]) -> None:
        self._server, self.url = start("up", environment(home), log)
        self.said = self._until_the_guide_ends()
        self.processes = _family(self._server.pid) + _postgres(home)

    def _until_the_guide_ends(self) -> str:
        assert self._server.stdout is not None
        said, blocks = "", 0
        for line in self._server.stdout:
            said += line
            blocks += line == "}\n"
            if blocks == 3:
                break
        return said

    def interrupt(self) -> int:
        """Ctrl-C: to the whole foreground group, as a terminal sends it; gives the exit code."""
        os.killpg(self._server.pid, signal.SIGINT)
        with self._server:
            return self._server.wait()


def _family(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def _postgres(home: Path) -> list[psutil.Process]:
    [file] = home.rglob("postmaster.pid")
    return _family(int(file.read_text().splitlines()[0]))


def _names(processes: list[psutil.Process]) -> set[str]:
    """Of those that are still there: PostgreSQL's helpers come and go."""
    names = set()
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            names.add(process.name())
    return names


def _json_blocks(text: str) -> list[Any]:
    blocks = re.findall(r"^\{$.*?^\}$", text, re.MULTILINE | re.DOTALL)
    return [json.loads(block) for block in blocks]


async def test_up_and_ctrl_c(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with (tmp_path / "log").open("w") as log:
        up = Up(home, log)
        try:
            [key] = set(re.findall(r"uaol_[\w-]{43}", up.said))
            assert up.said.count(f"  {key}\n") == 1
            _check_configurations(up, key)
            headers = {"Authorization": f"Bearer {key}"}
            async with httpx2.AsyncClient(base_url=up.url, headers=headers, timeout=60) as http:
                assert (await http.get("/v1/me")).status_code == 200
            names = _names(up.processes)
            assert any(name.startswith("postgres") for name in names), names
            assert len(up.processes) > 8
        finally:
            code = up.interrupt()
        assert code == 0
        # PostgreSQL's own children may still be on their way out.
        assert psutil.wait_procs(up.processes, timeout=60)[1] == []


async def test_the_key_is_shown_once(services: Any) -> None:
    said = []
    for _ in range(2):
        console = Console(file=StringIO(), width=200)
        await _guide(services, "http://localhost:1", console)
        said.append(console.file.getvalue())
    keys = [set(re.findall(r"uaol_[\w-]{43}", text)) for text in said]
    assert [len(found) for found in keys] == [1, 0]
    assert "shown in full when it was made" in said[1]


def _check_configurations(up: Up, key: str) -> None:
    desktop, cursor, code = _json_blocks(up.said)
    bearer = f"Bearer {key}"
    assert f"{up.url}/mcp" in desktop["mcpServers"]["uaol"]["args"]
    assert list(desktop["mcpServers"]["uaol"]["env"].values()) == [bearer]
    remote = {"url": f"{up.url}/mcp", "headers": {"Authorization": bearer}}
    assert cursor["mcpServers"]["uaol"] == remote
    assert code["servers"]["uaol"] == {"type": "http", **remote}
