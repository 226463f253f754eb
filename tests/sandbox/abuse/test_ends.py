"""However a task ends, or is ended: nothing of it runs on, and it is never the sandbox's fault."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from app.sandbox import Capabilities, Sandbox, TaskResult, TaskSpec
from tests.conftest import cannot_run
from tests.sandbox.abuse.conftest import USUAL, Attack, Run, Seen
from tests.sandbox.abuse.host import Host, running, until
from tests.sandbox.abuse.plain import run_plain
from tests.sandbox.abuse.prelude import said

pytestmark = pytest.mark.anyio

# Reading all of them would take the runner longer than the host waits.
_CROWDED = """
TOLD["made"] = 0
def crowd():
    for n in range(60_000):
        os.mknod(str(n))
        TOLD["made"] += 1
attempt("crowd", crowd)
"""
_DAEMON = """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        while True:
            signal.pause()
    os._exit(0)
os.wait()
TRIED["daemon"] = "done"
"""

# Each has a status of its own, or none at all: but never the one that is not charged.
_RIDES = {
    "kill the runner": "os.kill(os.getppid(), 9)\nsignal.pause()",
    "stop the runner": "os.kill(os.getppid(), signal.SIGSTOP)\nsignal.pause()",
    "every signal to the runner": "for number in signal.valid_signals():\n"
    "    os.kill(os.getppid(), number)\nsys.exit(0 if os.getppid() == 1 else 9)",
    "kill the first": "os.kill(1, 9)\nsignal.pause()",
    "kill everybody": "os.kill(-1, 9)",
    "stop everybody": "os.kill(-1, signal.SIGSTOP)\nsignal.pause()",
    "complain as the launcher": "for fd in (0, 1, 2):\n    try:\n"
    "        with open(f'/proc/1/fd/{fd}', 'w') as file: file.write('bwrap: setting up uid map')\n"
    "    except OSError: pass\nos.kill(os.getppid(), 9)\nos.kill(1, 9)\nsignal.pause()",
    "crash": "os.kill(os.getpid(), signal.SIGSEGV)",
    "crash by a call": "libc.syscall(ctypes.c_long(0x40000000 + 1), 1, b'x', 1)\nos.abort()",
    "close all": "os.closerange(0, 100)",
    "close all and fail": "os.closerange(0, 100)\nraise RuntimeError",
    "garbage": "for fd in range(3, 10):\n    try: os.write(fd, bytes(range(256)) * 200)\n"
    "    except OSError: pass",
    "a flood of garbage": "block = b'\\xff' * 65536\nwhile True:\n    os.write(3, block)",
    "a flood of values": "text = b'x' * 1000\nframe = b'v' + len(text).to_bytes(4, 'big') + text\n"
    "while True:\n    os.write(3, frame)",
    "a flood of pictures": "open('a.png', 'wb').write(bytes(2**20))\nname_ = b'a.png'\n"
    "frame = b'p' + len(name_).to_bytes(4, 'big') + name_\nwhile True:\n    os.write(3, frame)",
    "pictures from elsewhere": "os.symlink('/etc/passwd', 'link')\n"
    "for name_ in (b'../task.py', b'/etc/passwd', b'link', b'a\\0b', b'', b'.'):\n"
    "    os.write(3, b'p' + len(name_).to_bytes(4, 'big') + name_)",
    "a flood of marks": "while True:\n    os.write(3, b'm')",
    "half a frame": "os.write(3, b'v\\0\\0\\xff\\xff' + b'x')",
    "a frame without end": "os.write(3, b'p\\xff\\xff\\xff\\xff')\n"
    "while True:\n    os.write(3, b'x' * 4096)",
    "no output folder": "os.chdir('/')\nos.rename('/task/output', '/task/o')\nos.rmdir('/task/o')",
    "a closed output folder": "os.mkdir('d')\nopen('d/f', 'w').close()\nos.chmod('.', 0)",
    "closed folders": "for n in range(200):\n    os.mkdir(str(n), 0)",
    "deep folders": "for n in range(2000):\n    os.mkdir('d')\n    os.chdir('d')",
    "long names": "for n in range(3000):\n    open(f'{n:0250}', 'w').close()",
    "many entries": "for n in range(100_000):\n    os.mknod(str(n))",
    "no processes": "while True:\n    try:\n        if os.fork() == 0: signal.pause()\n"
    "    except OSError: break",
    "no room": "for folder in ('/task', '/task/output', '/tmp'):\n    try:\n"
    "        for n in range(999):\n            open(f'{folder}/{n}', 'wb').write(bytes(2**20))\n"
    "    except OSError: pass",
    "a hollow exit": "os._exit = lambda code: None",
    "a broken exit": "os._exit = None",
    "broken builtins": "import builtins\nfor name_ in ('compile', 'open', 'len', 'isinstance'):\n"
    "    setattr(builtins, name_, None)",
    "broken modules": "for name_ in list(sys.modules):\n    sys.modules[name_] = None",
    "an error that cannot be told": "class Odd(Exception):\n    def __str__(self): raise self\n"
    "raise Odd",
    "an exit that cannot be told": "class Odd:\n    def __str__(self): os.abort()\nsys.exit(Odd())",
    "a huge exit": "sys.exit(10**400)",
    "a hook": "sys.excepthook = lambda *args: os.kill(os.getppid(), 9)\nraise RuntimeError",
    "no recursion": "sys.setrecursionlimit(10)\ndef f(): f()\nf()",
    "a value that dies": "class Odd:\n    def __repr__(self): os._exit(0)\nOdd()",
    "a value without end": "class Odd:\n    def __repr__(self): return 'x' * 2**26\nOdd()",
    "a value that is odd": "class Odd:\n    def __repr__(self): return '\\ud800\\0'\nOdd()",
    "bytes": "os.write(1, bytes(range(256)) * 10)\nos.write(2, b'\\xff\\xfe\\xed\\xa0\\x80')",
    "exit handlers": "import atexit\natexit.register(lambda: os.kill(os.getppid(), 9))",
    "a thread that stays": "import threading\nthreading.Thread(target=signal.pause).start()",
}  # fmt: skip
# Most of them wait for their time-out, which they may do together.
_AT_ONCE = 8


async def test_daemon(run: Run, host: Host, attack: Attack, seen: Seen) -> None:
    result = await run(attack(_DAEMON))
    assert (result.status, said(result.stdout).tried) == ("ok", {"daemon": "done"})
    await until(lambda: not running(host.mark))
    seen()


async def test_a_crowded_folder_is_read_in_part(run: Run, attack: Attack) -> None:
    result = await run(attack(_CROWDED))
    assert (result.status, len(result.files)) == ("ok", USUAL.files)
    is_part = result.dropped[0] == "./: too many entries to read them all"
    # where inodes are limited there is no such crowd
    assert is_part == (said(result.stdout).told["made"] > 20_000)


async def test_outliving(run: Run, host: Host, attack: Attack, seen: Seen) -> None:
    result = await run(attack(f"{_DAEMON}\nwhile True: signal.pause()"), wall_s=0.5)
    assert result.status == "timeout"
    await until(lambda: not running(host.mark))
    seen()


def test_a_daemon_stays_on_a_host(host: Host) -> None:
    assert run_plain(_DAEMON, host, {}).done() == {"daemon"}
    left = running(host.mark)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert len(left) == 1


async def test_free_ride(run: Run, host: Host, attack: Attack, seen: Seen) -> None:
    room = asyncio.Semaphore(_AT_ONCE)

    async def take(ride: str) -> TaskResult:
        async with room:
            return await run(attack(_RIDES[ride]), wall_s=0.8, stdout_bytes=50_000, files=20)

    ends = dict(zip(_RIDES, await asyncio.gather(*map(take, _RIDES)), strict=True))
    free = {ride: end.stderr for ride, end in ends.items() if end.status == "infra_error"}
    assert free == {}
    assert [ride for ride, end in ends.items() if len(end.files) > 20] == []
    await until(lambda: not running(host.mark))
    seen()


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.parametrize("victim", ["task", "runner"])
async def test_killed_worker(
    sandbox: Sandbox, capabilities: Capabilities, host: Host, attack: Attack, seen: Seen,
    victim: str,
) -> None:  # fmt: skip
    if capabilities.executor == "kubernetes":
        cannot_run("the pod's processes are another machine's")
    code = attack("while True: signal.pause()")
    task = asyncio.ensure_future(sandbox.run(TaskSpec(host.mark, code, limits=USUAL)))
    await until(lambda: len(running(host.mark)) == 1)
    (pid,) = running(host.mark)
    try:
        os.kill(pid if victim == "task" else _parent(pid), signal.SIGKILL)
    except PermissionError:
        await sandbox.cancel(host.mark)
        cannot_run("only root may kill what runs in a container")
    result = await task
    assert result.status in ("killed", "infra_error")
    await until(lambda: not running(host.mark))
    assert (await sandbox.run(TaskSpec("next", "print(1)", limits=USUAL))).stdout == "1\n"
    seen()
