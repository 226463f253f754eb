"""From inside a real sandbox: out through the door, and by no other way."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from app.sandbox import (
    AUTO,
    InputFile,
    Options,
    PoolPlan,
    Sandbox,
    Setup,
    TaskResult,
    TaskSpec,
    make_executors,
)
from app.sandbox.egress import Egress, Policy
from tests.conftest import cannot_run
from tests.sandbox.conftest import SMALL, timed_out
from tests.sandbox.egress.conftest import HOST, LOOPBACK, Outside

pytestmark = pytest.mark.anyio
GET = """
import ssl, urllib.error, urllib.request
trusted = ssl.create_default_context(cafile="/task/input/ca.crt")
def get(url):
    try:
        return urllib.request.urlopen(url, context=trusted).read().decode()
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.reason}"
    except urllib.error.URLError as error:
        return str(error.reason)
"""
_ids = count()


async def page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nACGT")
    await writer.drain()


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """As the server runs."""
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(params=AUTO)
def executor(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@asynccontextmanager
async def opened(executor: str, egress: Egress, *, least: int = 0) -> AsyncIterator[Sandbox]:
    options = Options(SMALL, PoolPlan(least=least, most=2 * least))
    sandbox = Sandbox(make_executors(executor, Setup(options=options, egress=egress)), SMALL)
    status = await sandbox.start()
    if not status.available:
        await sandbox.close()
        cannot_run(f"{executor}: {status.reason} {status.hint}")
    try:
        yield sandbox
    finally:
        await sandbox.close()


@pytest.fixture
async def real(outside: Outside, tmp_path: Path) -> AsyncIterator[Egress]:
    """Sockets below a home that is closed to others: the sandbox must reach its own."""
    home = tmp_path / "home"
    home.mkdir(0o700)
    made = Egress(
        {},
        look_up=outside.look_up,
        is_open=lambda address: address == LOOPBACK,
        root=home / "egress",
    )
    yield made
    await made.close()


def spec(outside: Outside, code: str, egress: str | None, **more: str) -> TaskSpec:
    inputs = (InputFile("ca.crt", outside.public),)
    made = TaskSpec(f"task-{next(_ids)}", code, (), inputs, SMALL, egress)
    return replace(made, **more)  # type: ignore[arg-type]


def verdicts(result: TaskResult) -> list[tuple[str, str, str]]:
    return [(call.host, call.verdict, call.reason) for call in result.egress]


@pytest.mark.parametrize("least", [0, 1])
async def test_out_by_the_door_alone(
    least: int, executor: str, outside: Outside, real: Egress
) -> None:
    port = await outside.serve(page, is_tls=True)
    real.policies["lab"] = Policy("lab", {HOST: frozenset({port})})
    code = f"""{GET}
import socket
print(get("https://{HOST}:{port}/"))
print(get("https://other.example.org/"))
print(get("https://10.0.0.1:{port}/"))
for family, address in ((2, ("{LOOPBACK}", {port})), (2, ("1.1.1.1", 443)), (10, ("2a00::1", 443))):
    with socket.socket(family) as sock:
        print(sock.connect_ex(address) in (99, 101, 111))
try:
    socket.getaddrinfo("{HOST}", {port})
except socket.gaierror:
    print("no names")
"""
    async with opened(executor, real, least=least) as sandbox:
        result = await sandbox.run(spec(outside, code, "lab"))
    assert result.stdout.splitlines() == [
        "ACGT",
        "Tunnel connection failed: 403 other.example.org is not an allowed host",
        "Tunnel connection failed: 403 Addresses are not allowed, only names",
        *["True"] * 3,
        "no names",
    ], result.stderr
    refused, allowed, other = sorted(verdicts(result))
    assert (refused, allowed[:2]) == (("10.0.0.1", "refused", "address"), (HOST, "allowed"))
    assert other == ("other.example.org", "refused", "host_not_allowed")
    assert max(call.bytes_down for call in result.egress) > 4


async def test_without_a_policy_there_is_no_door(
    executor: str, outside: Outside, real: Egress
) -> None:
    code = """
import os, socket
print(os.path.exists("/run/egress"), [name for name in os.environ if "PROXY" in name.upper()])
print(socket.socket().connect_ex(("127.0.0.1", 3128)))
"""
    async with opened(executor, real) as sandbox:
        result = await sandbox.run(spec(outside, code, None))
    assert (result.stdout, result.egress) == ("False []\n111\n", ())


async def test_a_server_inside_is_reached_inside(
    executor: str, outside: Outside, real: Egress
) -> None:
    real.policies["lab"] = Policy("lab", {HOST: frozenset({443})})
    code = """
import http.server, threading, urllib.request
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"TTTT")
    def log_message(self, *_):
        pass
server = http.server.HTTPServer(("127.0.0.1", 0), Page)
threading.Thread(target=server.serve_forever, daemon=True).start()
for host in ("127.0.0.1", "localhost"):
    print(urllib.request.urlopen(f"http://{host}:{server.server_port}/").read())
"""
    async with opened(executor, real) as sandbox:
        result = await sandbox.run(spec(outside, code, "lab"))
    assert (result.stdout, result.egress) == ("b'TTTT'\n" * 2, ()), result.stderr


async def test_the_folder_cannot_be_written(executor: str, outside: Outside, real: Egress) -> None:
    real.policies["lab"] = Policy("lab", {HOST: frozenset({443})})
    code = """
import os
def attempt(action, *args):
    try:
        action(*args)
    except OSError as error:
        return type(error).__name__
    return "allowed"
print(attempt(os.unlink, "/run/egress/proxy.sock"), attempt(os.chmod, "/run/egress", 0o777),
      attempt(open, "/run/egress/x", "w"),
      attempt(os.rename, "/run/egress/proxy.sock", "/run/egress/y"),
      attempt(os.chmod, "/run/egress/proxy.sock", 0o777))
"""
    async with opened(executor, real) as sandbox:
        result = await sandbox.run(spec(outside, code, "lab"))
    assert "allowed" not in result.stdout, result.stdout
    assert len(result.stdout.split()) == 5, result.stderr


async def test_a_task_has_no_way_to_anothers_socket(
    executor: str, outside: Outside, real: Egress
) -> None:
    """Both run at once: each sees one socket, its own, under its own policy."""
    ports = [await outside.serve(page, is_tls=True) for _ in range(2)]
    for name, port in zip(("one", "two"), ports, strict=True):
        real.policies[name] = Policy(name, {HOST: frozenset({port})})
    code = f"""{GET}
import glob, os
print(os.path.exists("/run/egress/proxy.sock"), glob.glob("/run/egress/*/*"))
print(sum("proxy.sock" in line for line in open("/proc/net/unix")))
print([get(f"https://{HOST}:{{port}}/")[:24] for port in {ports}])
"""
    async with opened(executor, real) as sandbox:
        results = await asyncio.gather(
            *(sandbox.run(spec(outside, code, name)) for name in ("one", "two"))
        )
    expected = ["ACGT", "Tunnel connection failed"]
    for result, answers in zip(results, (expected, expected[::-1]), strict=True):
        found, seen, got = result.stdout.splitlines()
        assert (found, seen) == ("True []", "0"), result.stderr
        assert got == str(answers)


async def test_a_session_goes_out_cell_by_cell(
    executor: str, outside: Outside, real: Egress
) -> None:
    port = await outside.serve(page, is_tls=True)
    real.policies["lab"] = Policy("lab", {HOST: frozenset({port})})
    more = {"session_id": "s", "owner": "me"}
    ask = f'print(get("https://{HOST}:{port}/"))'
    async with opened(executor, real) as sandbox:
        first = await sandbox.run(spec(outside, GET + ask, "lab", **more))
        second = await sandbox.run(spec(outside, ask, "lab", **more))
    assert [first.stdout, second.stdout] == ["ACGT\n"] * 2, first.stderr + second.stderr
    assert [len(result.egress) for result in (first, second)] == [1, 1]


async def test_a_task_that_times_out_keeps_its_log(
    executor: str, outside: Outside, real: Egress
) -> None:
    port = await outside.serve(page, is_tls=True)
    real.policies["lab"] = Policy("lab", {HOST: frozenset({port})})
    code = f'{GET}\nprint(get("https://{HOST}:{port}/"), flush=True)\nwhile True: pass'
    async with opened(executor, real) as sandbox:

        def run(wall_s: float) -> Awaitable[TaskResult]:
            task = spec(outside, code, "lab")
            return sandbox.run(replace(task, limits=replace(SMALL, wall_s=wall_s)))

        result = await timed_out(run, 3)
    assert (result.status, result.stdout) == ("timeout", "ACGT\n")
    assert verdicts(result)[0][:2] == (HOST, "allowed")
