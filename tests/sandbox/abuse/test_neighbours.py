"""Tasks one after another and side by side: none finds anything of another."""

import os
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from app.sandbox import InputFile, Printed, Sandbox, TaskResult, TaskSpec
from tests.sandbox.abuse.conftest import USUAL, Attack, Run, Seen
from tests.sandbox.abuse.host import Host, running, until
from tests.sandbox.abuse.plain import run_plain
from tests.sandbox.abuse.prelude import said

pytestmark = pytest.mark.anyio

_FOLDERS = ["/tmp", "/dev/shm", "/var/tmp", "/task", "/task/output", "/task/input", "/run", "/data"]

# What a task can leave: files, sockets, shared memory, and changes to the Python it was given.
_LEAVE = """
import builtins, json, socket
for folder in P["folders"]:
    try:
        with open(f"{folder}/{P['key']}", "w") as file:
            file.write("left")
    except OSError:
        continue
    TOLD[folder] = "left"
abstract = socket.socket(socket.AF_UNIX)
abstract.bind("\\0" + P["key"])
abstract.listen()
try:
    port = socket.create_server(("127.0.0.1", P["port"]))
except OSError:
    port = None
setattr(builtins, P["key"], "left")
setattr(json, P["key"], "left")
os.environ[P["key"]] = "left"
if P["shared"]:
    TOLD["shared"] = libc.shmget(P["shared"], 4096, 0o1666)
TRIED["leave"] = "done"
"""
_LOOK = """
import builtins, json, socket
def connect(family, address):
    with socket.socket(family) as sock:
        sock.settimeout(2)
        sock.connect(address)
def processes():
    names = [open(f"/proc/{pid}/comm").read() for pid in os.listdir("/proc") if pid.isdigit()]
    if not any(P["other"] in text for text in names):
        raise ProcessLookupError(3, "none")
for folder in P["folders"]:
    attempt("file in " + folder, os.lstat, f"{folder}/{P['key']}")
attempt("abstract socket", connect, socket.AF_UNIX, "\\0" + P["key"])
attempt("port", connect, socket.AF_INET, ("127.0.0.1", P["port"]))
attempt("builtins", getattr, builtins, P["key"])
attempt("module", getattr, json, P["key"])
attempt("environment", lambda: os.environ[P["key"]])
attempt("shared memory", lambda: check(libc.shmget(P["shared"] or 1, 0, 0)))
attempt("processes", processes)
for pid in P["pids"]:
    attempt("signal", os.kill, pid, 0)
    attempt("look", os.lstat, f"/proc/{pid}")
"""
_READY = """
libc.prctl(15, (P["mark"] + "r").encode(), 0, 0, 0)
print("ready", flush=True)
while True: signal.pause()
"""
_CROWD = """
children = []
try:
    while len(children) < 100:
        child = os.fork()
        if child == 0:
            signal.pause()
        children.append(child)
except OSError:
    pass
TOLD["children"] = len(children)
"""


def _key(host: Host) -> dict[str, object]:
    # a number of its own for what is named by number
    number = int(host.mark[-6:], 16)
    return {
        "key": f"key_{host.mark}", "port": 20_000 + number % 20_000, "shared": number | 1,
        "folders": _FOLDERS, "other": f"{host.mark}r", "pids": [],
    }  # fmt: skip


@asynccontextmanager
async def beside(sandbox: Sandbox, host: Host, code: str) -> AsyncIterator[list[int]]:
    """A task that has done its part and stays, by the host's ids of its processes.

    There are none of those where they are another machine's.
    """
    spec = TaskSpec(f"beside-{host.mark}", code, limits=USUAL)
    async with aclosing(sandbox.stream(spec)) as events:
        async for event in events:
            assert isinstance(event, Printed), event
            if "ready" in event.text:
                break
        yield running(f"{host.mark}r")
    await until(lambda: not running(f"{host.mark}r"))


def _host_segments() -> set[int]:
    lines = Path("/proc/sysvipc/shm").read_text(encoding="ascii").splitlines()[1:]
    return {int(line.split()[0]) for line in lines}


async def test_leftovers(run: Run, host: Host, attack: Attack, seen: Seen) -> None:
    left = await run(attack(_LEAVE, **_key(host)))
    assert said(left.stdout).tried == {"leave": "done"}, left.stderr
    assert said(left.stdout).told.keys() >= {"/tmp", "/task/output", "shared"}
    found = await run(attack(_LOOK, **_key(host)))
    assert len(said(found.stdout).tried) >= 14, found.stderr
    assert said(found.stdout).done() == set()
    assert _key(host)["shared"] not in _host_segments()
    seen()


async def test_neighbours(
    sandbox: Sandbox, run: Run, host: Host, attack: Attack, seen: Seen
) -> None:
    async with beside(sandbox, host, attack(_LEAVE + _READY, **_key(host))) as pids:
        found = await run(attack(_LOOK, **{**_key(host), "pids": pids}))
    assert len(said(found.stdout).tried) >= 16, found.stderr
    assert said(found.stdout).done() == set()
    seen()


def test_a_host_shows_what_is_left_there(host: Host) -> None:
    key = {**_key(host), "folders": [str(host.folder)], "shared": 0}
    run_plain(_LEAVE, host, key)
    pids = [os.getpid()]
    found = run_plain(_LOOK, host, {**key, "pids": pids, "other": "py"})
    assert {f"file in {host.folder}", "look", "signal"} <= found.done()


async def test_starving(sandbox: Sandbox, run: Run, host: Host, attack: Attack, seen: Seen) -> None:
    async with beside(sandbox, host, attack(_CROWD + _READY)) as pids:
        assert not pids or len(running(host.mark)) > USUAL.processes / 2
        found = await run(attack(_CROWD + "TRIED['crowd'] = 'done'"))
    assert USUAL.processes / 2 < said(found.stdout).told["children"] <= USUAL.processes
    seen()


async def test_inputs(sandbox: Sandbox, host: Host, attack: Attack, seen: Seen) -> None:
    files = (InputFile("secret.txt", host.secret),)
    change = """
path = "/task/input/secret.txt"
attempt("at once", lambda: open(path, "a").close())
os.chmod("/task/input", 0o700)
os.chmod(path, 0o600)
def write():
    with open(path, "w") as file:
        file.write("changed")
attempt("after a chmod", write)
"""
    spec = TaskSpec("inputs", attack(change), input_files=files, limits=USUAL)
    changed = await sandbox.run(spec)
    assert said(changed.stdout).tried == {"at once": "EACCES", "after a chmod": "done"}
    read = "print(open('/task/input/secret.txt').read(), end='')"
    again = await sandbox.run(TaskSpec("again", read, input_files=files, limits=USUAL))
    assert (again.stdout, host.secret.read_text(encoding="utf-8")) == ("secret", "secret")
    seen()


def _cell(owner: str, code: str) -> TaskSpec:
    return TaskSpec(f"cell-{owner}", code, limits=USUAL, session_id="shared", owner=owner)


async def test_sessions(sandbox: Sandbox, seen: Seen) -> None:
    async def say(owner: str, code: str) -> TaskResult:
        return await sandbox.run(_cell(owner, code))

    await say("first", "secret = 42; open('/tmp/secret', 'w').write('42')")
    other = await say("second", "import os; print(os.path.exists('/tmp/secret')); print(secret)")
    assert (other.status, other.stdout) == ("error", "False\n")
    assert "NameError" in other.stderr
    # without this the session might not exist at all
    assert (await say("first", "print(secret)")).stdout == "42\n"
    seen()
