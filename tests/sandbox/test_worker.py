"""One worker: what is ready before the task, what is told while it runs, and its end."""

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from app.sandbox.executors.bubblewrap import BubblewrapBackend
from app.sandbox.executors.cgroups import find_groups
from app.sandbox.executors.worker import Stop, Worker
from app.sandbox.links import Mounted, Room
from app.sandbox.types import Event, Printed, Shown
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

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
async def backend(anyio_backend: str) -> AsyncIterator[BubblewrapBackend]:
    opened = await standing_backend()
    yield opened
    await opened.close()


async def test_modules_are_there_before_the_task(backend: BubblewrapBackend) -> None:
    code = "import sys; print([name in sys.modules for name in ('colorsys', 'wave')])"
    async with working(backend) as worker:
        assert (await worker.run(task(code))).stdout == "[False, False]\n"
    async with working(backend, Room(LIMITS, imports=("colorsys", "no_such_module"))) as worker:
        assert (await worker.run(task(code))).stdout == "[True, False]\n"


async def test_an_import_can_say_nothing(backend: BubblewrapBackend) -> None:
    async with working(backend, Room(LIMITS, imports=("this",))) as worker:
        result = await worker.run(task("import this; print('end')"))
    assert (result.status, result.stdout) == ("ok", "end\n")


async def test_a_task_that_is_known_at_the_start_is_told_once(backend: BubblewrapBackend) -> None:
    room = Room(LIMITS)
    first, second = task("n = 1; print(n)", "s"), task("print(n + 1)", "s")
    worker = Worker(await backend.launch(room), room, await backend.head())
    try:
        await worker.start(first)
        results = [await worker.run(first), await worker.run(second)]
    finally:
        await worker.kill()
    assert [(one.status, one.stdout) for one in results] == [("ok", "1\n"), ("ok", "2\n")]


async def test_it_runs_one_task(backend: BubblewrapBackend) -> None:
    async with working(backend) as worker:
        assert worker.is_alive
        assert worker.python == sys.version.split()[0]
        result = await worker.run(task("print(1)"))
        assert (result.status, worker.is_alive, worker.has_begun) == ("ok", False, True)
        assert (await worker.run(task("print(2)"))).status == "infra_error"
        assert not worker.has_begun


async def test_output_is_heard_before_the_end(backend: BubblewrapBackend) -> None:
    stop = Stop("task")
    heard: list[Event] = []

    def hear(event: Event) -> None:
        heard.append(event)
        stop.set("killed")

    code = "print('one')\nimport signal\nwhile True: signal.pause()"
    async with working(backend) as worker:
        result = await worker.run(task(code), hear, stop)
        assert not worker.is_alive
    assert (result.status, result.stdout) == ("killed", "one\n")
    assert heard == [Printed("stdout", "one\n")]


async def test_text_is_never_cut_within_a_letter(backend: BubblewrapBackend) -> None:
    code = "import os\nfor byte in 'aä€😀'.encode(): os.write(1, bytes([byte]))"
    heard: list[Event] = []
    async with working(backend) as worker:
        result = await worker.run(task(code), heard.append)
    texts = [event.text for event in heard if isinstance(event, Printed)]
    assert "".join(texts) == result.stdout == "aä€😀"


SHOW = """
import os
def show(name):
    data = name if isinstance(name, bytes) else name.encode()
    os.write(3, b"p" + len(data).to_bytes(4, "big") + data)
"""


async def test_pictures_are_shown_and_kept(backend: BubblewrapBackend) -> None:
    code = f"""{SHOW}
open("b.png", "wb").write(b"PNG-b")
open("a.png", "wb").write(b"PNG-a")
open("c.txt", "w").write("no picture")
show("b.png")
show("a.png")
"""
    heard: list[Event] = []
    async with working(backend) as worker:
        result = await worker.run(task(code), heard.append)
    shown = [(event.file.name, event.file.content) for event in heard if isinstance(event, Shown)]
    assert shown == [("b.png", b"PNG-b"), ("a.png", b"PNG-a")]
    assert result.plots == ("b.png", "a.png")
    assert [file.name for file in result.files] == ["a.png", "b.png", "c.txt"]


async def test_only_files_of_the_output_are_shown(backend: BubblewrapBackend) -> None:
    code = f"""{SHOW}
os.symlink("/proc/self/environ", "link")
os.mkfifo("fifo")
os.mkdir("folder")
open("big", "wb").truncate(2000)
open("/task/out", "w").write("x")
for name in ("link", "fifo", "folder", "big", "none", "/etc/passwd", "../out", "", b"\\xff\\0a"):
    show(name)
print("end")
"""
    heard: list[Event] = []
    limits = replace(LIMITS, output_bytes=1000)
    async with working(backend) as worker:
        result = await worker.run(task(code, limits=limits), heard.append)
    assert (result.status, result.stdout, result.plots) == ("ok", "end\n", ())
    assert not [event for event in heard if isinstance(event, Shown)]


@pytest.mark.parametrize(
    "said",
    ["b'T' + bytes(40)", "bytes(99999)", "b'v'", "b'v\\0\\0\\xff\\xff'", "b's\\0\\0\\0\\x03999'"],
)
async def test_nonsense_on_the_channel_does_no_harm(backend: BubblewrapBackend, said: str) -> None:
    async with working(backend) as worker:
        result = await worker.run(task(f"import os, sys; os.write(3, {said}); sys.exit(5)"))
    assert (result.status, result.exit_code, result.value) == ("error", 5, None)


async def test_a_task_may_say_that_it_is_over(backend: BubblewrapBackend) -> None:
    code = "import os, signal\nos.write(3, b'c\\0\\0\\0\\x01\\7')\nwhile True: signal.pause()"
    async with working(backend) as worker:
        result = await worker.run(task(code))
    assert (result.status, result.exit_code) == ("error", 7)


async def test_a_file_in_place_of_the_channel_is_let_be(backend: BubblewrapBackend) -> None:
    code = """
import os
os.closerange(3, 20)
for number in range(4):
    with open(f"f{number}", "w") as file:
        file.write("x")
os.open("g", os.O_CREAT | os.O_RDWR)
"""
    async with working(backend) as worker:
        result = await worker.run(task(code))
    assert (result.status, [file.content for file in result.files]) == ("ok", [b"x"] * 4 + [b""])


async def test_the_last_value_is_told(backend: BubblewrapBackend) -> None:
    async with working(backend) as worker:
        result = await worker.run(task("x = 6\nx * 7"))
    assert (result.value, result.stdout) == ("42", "")


async def test_folders_are_shown_read_only(backend: BubblewrapBackend, tmp_path: Path) -> None:
    for name in ("data", "layer"):
        (tmp_path / name).mkdir()
    (tmp_path / "data" / "genome.fa").write_text("ACGT")
    (tmp_path / "layer" / "extra_module.py").write_text("VALUE = 7")
    (tmp_path / "layer" / "colorsys.py").write_text("raise RuntimeError('shadowed')")
    code = """
import colorsys, extra_module
print(open("/data/genomes/genome.fa").read(), extra_module.VALUE)
try: open("/data/genomes/x", "w")
except OSError as error: print(error.strerror)
"""
    mounts = (
        Mounted(tmp_path / "data", "/data/genomes"), Mounted(tmp_path / "layer", "/opt/layers/1")
    )  # fmt: skip
    room = Room(LIMITS, imports=("extra_module",), sites=("/opt/layers/1",), mounts=mounts)
    async with working(backend, room) as worker:
        result = await worker.run(task(code))
    assert result.stdout == "ACGT 7\nRead-only file system\n", result.stderr


async def test_a_folder_that_was_made_anew_is_the_new_one(
    backend: BubblewrapBackend, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    room = Room(LIMITS, mounts=(Mounted(folder, "/data/x"),))
    for text in ("old", "new"):
        folder.mkdir()
        (folder / "a").write_text(text)
        async with working(backend, room) as worker:
            result = await worker.run(task("print(open('/data/x/a').read())"))
        assert result.stdout == f"{text}\n"
        folder.rename(tmp_path / f"was-{text}")


async def test_a_layer_does_not_run_in_the_runner(
    backend: BubblewrapBackend, tmp_path: Path
) -> None:
    (tmp_path / "evil_module.py").write_text("import os; os._exit(9)")
    mounts = (Mounted(tmp_path, "/opt/layers/1"),)
    room = Room(LIMITS, imports=("evil_module",), sites=("/opt/layers/1",), mounts=mounts)
    async with working(backend, room) as worker:
        assert (await worker.run(task("print(1)"))).stdout == "1\n"


async def test_a_kill_from_outside_is_told(backend: BubblewrapBackend) -> None:
    async with linked(backend) as (worker, link):

        def kill(_: Event) -> None:
            os.kill(link.pid, signal.SIGKILL)

        code = "print('here')\nimport signal\nwhile True: signal.pause()"
        result = await worker.run(task(code), kill)
        assert (result.status, result.stdout, worker.has_begun) == ("killed", "here\n", True)


async def test_a_waiting_worker_that_is_killed_is_seen(backend: BubblewrapBackend) -> None:
    async with linked(backend) as (worker, link):
        os.kill(link.pid, signal.SIGKILL)
        await until(lambda: not worker.is_alive)
        result = await worker.run(task("print(1)"))
        assert (result.status, worker.has_begun) == ("infra_error", False)


async def test_what_a_killed_task_used_is_known(backend: BubblewrapBackend) -> None:
    code = """
import time
print("begun", flush=True)
begun, x = time.monotonic(), bytearray(2**26)
while time.monotonic() < begun + 0.5 or time.process_time() < 0.3: pass
print("now", flush=True)
while True: pass
"""
    stop, heard = Stop("task"), list[float]()

    def hear(event: Event) -> None:
        heard.append(time.monotonic())
        # its time is up once it has used some
        if isinstance(event, Printed) and "now" in event.text:
            stop.set("timeout")

    async with working(backend) as worker:
        result = await worker.run(task(code), hear, stop)
    assert result.status == "timeout"
    # one thread; some is the launcher's
    assert 0.1 < result.usage.cpu_s < result.usage.wall_s + 2
    assert result.usage.wall_s >= heard[-1] - heard[0]
    assert result.usage.peak_memory_bytes > 2**26


async def test_nothing_is_left_over_of_many(backend: BubblewrapBackend) -> None:
    async with working(backend) as worker:
        await worker.run(task("print(1)"))
    # what other tests left to the collector
    gc.collect()
    before = held()
    for number in range(50):
        async with working(backend) as worker:
            if number % 5:
                await worker.run(task("print(1)" if number % 2 else "import os; os._exit(1)"))
    await until(lambda: held() == before)


def test_the_runner_runs_nowhere_else() -> None:
    runner = ROOT / "sandbox" / "runner.py"
    ended = subprocess.run([sys.executable, str(runner)], env={}, capture_output=True, check=False)
    assert ended.returncode == 1
    assert b"only inside a sandbox" in ended.stderr


def held() -> tuple[list[str], list[int], list[Path]]:
    """What this process holds open, has started, and has made of control groups."""
    links = [path for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    files = sorted(str(path.readlink()).partition(":")[0] for path in links)
    places = groups.folders if (groups := find_groups()) else []
    found = sorted(path for base in places if base.is_dir() for path in base.iterdir())
    return files, descendants(os.getpid()), [path for path in found if path.is_dir()]
