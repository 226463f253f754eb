"""A session: one Python runs cell after cell, is still in between, and its end is told."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from app.sandbox.executors.bubblewrap import BubblewrapBackend
from app.sandbox.executors.worker import Worker
from app.sandbox.types import InputFile, TaskResult
from tests.sandbox.rooms import (
    LIMITS,
    descendants,
    linked,
    standing_backend,
    task,
    until,
    working,
)

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
async def backend(anyio_backend: str) -> AsyncIterator[BubblewrapBackend]:
    opened = await standing_backend()
    yield opened
    await opened.close()


@pytest.fixture
async def worker(backend: BubblewrapBackend) -> AsyncIterator[Worker]:
    async with working(backend) as started:
        yield started


async def cell(worker: Worker, code: str, **limits: float) -> TaskResult:
    asked = replace(LIMITS, **limits)  # type: ignore[arg-type]
    return await worker.run(task(code, "session", asked))


async def test_variables_survive(worker: Worker) -> None:
    assert (await cell(worker, "x = [1]\ndef f(): return len(x)")).status == "ok"
    assert (await cell(worker, "x.append(2); print(f())")).stdout == "2\n"
    assert (await cell(worker, "f() * 21")).value == "42"
    assert worker.is_alive


async def test_each_cell_has_its_own_result(worker: Worker) -> None:
    first = await cell(worker, "print('a'); open('a', 'w').write('1'); 5")
    second = await cell(worker, "import sys; print('b', file=sys.stderr); open('b', 'w')")
    assert (first.stdout, first.value, [file.name for file in first.files]) == ("a\n", "5", ["a"])
    assert (second.stdout, second.stderr) == ("", "b\n")
    assert [file.name for file in second.files] == ["a", "b"]


async def test_an_error_ends_the_cell_only(worker: Worker) -> None:
    failed = await cell(worker, "y = 1\nraise KeyError('gone')")
    assert (failed.status, failed.exit_code) == ("error", 1)
    assert 'cell_1.py", line 2' in failed.stderr
    left = await cell(worker, "import sys; sys.exit(3)")
    assert (left.status, left.exit_code) == ("error", 3)
    assert (await cell(worker, "print(y)")).stdout == "1\n"


async def test_a_function_of_an_earlier_cell_is_in_the_traceback(worker: Worker) -> None:
    await cell(worker, "def divide(a):\n    return a / 0")
    told = (await cell(worker, "divide(1)")).stderr
    assert "return a / 0" in told
    assert "cell_1.py" in told
    assert "cell_2.py" in told


@pytest.mark.parametrize(
    ("code", "limits", "status"),
    [
        ("import os; os._exit(4)", {}, "error"),
        ("import os; os.kill(os.getpid(), 9)", {}, "killed"),
        ("while True: pass", {"wall_s": 0.5}, "timeout"),
        ("while True: print('x' * 1000)", {"stdout_bytes": 50_000}, "output_limit"),
    ],
)
async def test_an_ended_kernel_is_told(
    worker: Worker, code: str, limits: dict[str, float], status: str
) -> None:
    await cell(worker, "x = 1")
    result = await cell(worker, code, **limits)
    assert (result.status, worker.is_alive) == (status, False)
    after = await cell(worker, "x")
    assert (after.status, worker.has_begun) == ("infra_error", False)


async def test_cpu_seconds_are_each_cells_own(worker: Worker) -> None:
    busy = "import time\nend = time.process_time() + 0.7\nwhile time.process_time() < end: pass"
    for _ in range(3):
        result = await cell(worker, busy, cpu_s=1)
        assert result.status == "ok", result
        assert 0.5 < result.usage.cpu_s < 1.5
    assert (await cell(worker, "while True: pass", cpu_s=1)).status == "timeout"


WAKING = """
import ctypes, signal, threading
libc = ctypes.CDLL(None)
# a timer whose signal nobody takes fires once
signal.signal(signal.SIGCONT, lambda *_: None)
# struct sigevent: SIGCONT, by SIGEV_SIGNAL; struct itimerspec: each 20 ms
event, timer = (ctypes.c_int * 16)(), ctypes.c_void_p()
event[2] = 18
assert libc.timer_create(1, ctypes.byref(event), ctypes.byref(timer)) == 0
each = (ctypes.c_long * 4)(0, 20_000_000, 0, 20_000_000)
assert libc.timer_settime(timer, 0, ctypes.byref(each), None) == 0
"""
SPINNING = """
def spin():
    while True: pass
threading.Thread(target=spin, daemon=True).start()
"""
FORKING = """
import os, signal, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
def fork():
    while True:
        time.sleep(0.01)
        os.fork() or os._exit(0)
threading.Thread(target=fork, daemon=True).start()
"""


@pytest.mark.parametrize("code", [SPINNING, FORKING])
async def test_who_wakes_between_cells_ends(worker: Worker, code: str) -> None:
    assert (await cell(worker, WAKING + code)).status == "ok"
    await until(lambda: not worker.is_alive)
    after = await cell(worker, "1")
    assert (after.status, worker.has_begun) == ("infra_error", False)


async def test_nothing_goes_on_between_cells(backend: BubblewrapBackend) -> None:
    code = """
import os, threading
def spin():
    while True: pass
threading.Thread(target=spin, daemon=True).start()
child = os.fork()
if child == 0: spin()
"""
    async with linked(backend) as (worker, link):
        assert (await cell(worker, code)).status == "ok"
        _runner, *users = descendants(link.pid)
        assert len(users) == 2
        await until(lambda: {state(pid) for pid in users} == {"T"})
        result = await cell(
            worker, "import signal; os.kill(child, 9); print(os.wait()[0] == child)"
        )
        assert result.stdout == "True\n"


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


async def test_memory_that_is_refused_does_not_end_it(worker: Worker) -> None:
    result = await cell(worker, "x = bytearray(2**33)")
    assert (result.status, worker.is_alive) == ("oom", True)
    assert (await cell(worker, "print(1)")).stdout == "1\n"


async def test_files_come_with_every_cell(worker: Worker, tmp_path: Path) -> None:
    for text in ("one", "two"):
        source = tmp_path / text
        source.write_text(text)
        spec = task("print(open('/task/input/a').read(), end='')", "session")
        result = await worker.run(replace(spec, input_files=(InputFile("a", source),)))
        assert (result.status, result.stdout) == ("ok", text)


async def test_a_place_in_the_way_of_a_file_is_the_tasks_error(
    worker: Worker, tmp_path: Path
) -> None:
    (tmp_path / "a").write_text("x")
    spec = replace(task("print(1)", "session"), input_files=(InputFile("a", tmp_path / "a"),))
    await cell(worker, "import os; os.chmod('/task/input', 0o755); os.mkdir('/task/input/a')")
    result = await worker.run(spec)
    assert (result.status, worker.is_alive) == ("error", True)
    assert "could not be written" in result.stderr
    assert (await cell(worker, "print(2)")).stdout == "2\n"


async def test_links_in_the_way_of_the_code_are_not_followed(worker: Worker) -> None:
    await cell(worker, "import os; os.symlink('/proc/self/fd/5', '/task/cell_2.py')")
    assert (await cell(worker, "print('here')")).stdout == "here\n"


async def test_a_picture_of_an_earlier_cell_is_not_shown_again(worker: Worker) -> None:
    show = "import os\nopen('a.png', 'w').write('x')\nos.write(3, b'p\\0\\0\\0\\x05a.png')"
    assert (await cell(worker, show)).plots == ("a.png",)
    assert (await cell(worker, "print(1)")).plots == ()


async def test_an_early_end_of_a_cell_harms_nobody(worker: Worker) -> None:
    early = "import os, time\nos.write(3, b'c\\0\\0\\0\\x01\\0')\nx = 5"
    assert (await cell(worker, early)).status == "ok"
    assert (await cell(worker, "print('next')")).status == "ok"
