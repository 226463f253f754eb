"""Control groups: found where they may be made, limited as the room says, and removed."""

import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from app.sandbox import Limits
from app.sandbox.executors.bubblewrap import BubblewrapBackend
from app.sandbox.executors.cgroups import CONTROLLERS, Groups, find_groups
from app.sandbox.links import Room
from tests.conftest import cannot_run
from tests.sandbox.rooms import LIMITS, descendants, linked, standing_backend, task, working

ROOM = Room(Limits(memory_bytes=2**28, processes=10, tmp_bytes=2**20), work_bytes=2**21)
TOTAL = 2**28 + 2**20 + 2**21 + 16 * 2**20 + 96 * 2**20


def proc(folder: Path, own: str, mounts: list[str]) -> Path:
    (folder / "cgroup").write_text(own)
    lines = [f"30 23 0:26 {mount}\n" for mount in mounts]
    (folder / "mountinfo").write_text("22 1 0:5 / /proc rw - proc proc rw\n" + "".join(lines))
    return folder


def read(folder: Path, *names: str) -> list[str]:
    return [(folder / name).read_text() for name in names]


def test_version_two_uses_the_nearest_group_that_passes_memory_on(tmp_path: Path) -> None:
    root = tmp_path / "unified"
    slice_folder = root / "user.slice" / "app.slice"
    (slice_folder / "uaol.service").mkdir(parents=True)
    (slice_folder / "cgroup.subtree_control").write_text("cpu memory pids\n")
    (slice_folder / "memory.swap.max").write_text("max")
    mount = f"/ {root} rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"
    groups = find_groups(proc(tmp_path, "0::/user.slice/app.slice/uaol.service\n", [mount]))
    assert groups is not None
    assert groups.controllers == CONTROLLERS
    group = groups.new(ROOM)
    base = slice_folder / f"uaol-{os.getpid()}"
    (folder,) = [path for path in base.iterdir() if path.is_dir()]
    assert (base / "cgroup.subtree_control").read_text() == "+memory +pids +cpu"
    assert read(folder, "memory.max", "pids.max") == [str(TOTAL), "14"]
    quota, period = (folder / "cpu.max").read_text().split()
    assert int(quota) >= int(period)
    (folder / "memory.events").write_text("low 0\noom 1\noom_kill 2\n")
    (folder / "cpu.stat").write_text("usage_usec 1500000\nuser_usec 1\n")
    (folder / "memory.peak").write_text("12345\n")
    counted = group.counted()
    assert (counted.is_oom, counted.cpu_s, counted.peak_memory_bytes) == (True, 1.5, 12345)


def test_version_two_without_delegation_is_none(tmp_path: Path) -> None:
    root = tmp_path / "unified"
    (root / "box").mkdir(parents=True)
    (root / "box" / "cgroup.controllers").write_text("memory pids\n")
    (root / "box" / "cgroup.subtree_control").write_text("")
    mount = f"/ {root} rw - cgroup2 cgroup2 rw"
    assert find_groups(proc(tmp_path, "0::/box\n", [mount])) is None


def test_version_one_has_a_folder_for_each_controller(tmp_path: Path) -> None:
    own, mounts = "", []
    for number, name in enumerate(CONTROLLERS):
        folder = tmp_path / name / "inner"
        folder.mkdir(parents=True)
        (folder / "cgroup.procs").write_text("")
        options = "cpu,cpuacct" if name == "cpu" else name
        own += f"{number}:{options}:/outer/inner\n"
        mounts.append(f"/outer {tmp_path / name} rw - cgroup cgroup rw,{options}")
    groups = find_groups(proc(tmp_path, own, mounts))
    assert groups is not None
    group = groups.new(ROOM)
    memory, pids, cpu = (
        next(tmp_path.glob(f"{name}/inner/uaol-{os.getpid()}/*/")) for name in CONTROLLERS
    )
    assert read(memory, "memory.limit_in_bytes") == [str(TOTAL)]
    assert read(pids, "pids.max") == ["14"]
    assert read(cpu, "cpu.cfs_period_us") == ["100000"]
    (memory / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n")
    (cpu / "cpuacct.usage").write_text("2000000000\n")
    assert (group.counted().is_oom, group.counted().cpu_s) == (True, 2.0)


@pytest.mark.parametrize("text", ["", "0::/\n", "4:memory:/x\n"])
def test_without_a_hierarchy_there_is_none(tmp_path: Path, text: str) -> None:
    assert find_groups(proc(tmp_path, text, [])) is None
    assert find_groups(tmp_path / "no-proc") is None


def test_what_two_servers_sweep_at_once_hinders_neither(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("uaol-1234567890", "uaol-1234567891"):
        (tmp_path / name / "0").mkdir(parents=True)
    listed, swept = Path.iterdir, []

    def sweep_first(folder: Path) -> Iterator[Path]:
        if not swept:
            swept.append(folder)
            shutil.rmtree(folder)
        return listed(folder)

    monkeypatch.setattr(Path, "iterdir", sweep_first)
    Groups({"memory": tmp_path}, is_unified=True).sweep()
    assert swept
    assert list(listed(tmp_path)) == []


def real_groups() -> Groups:
    groups = find_groups()
    if groups is None:
        cannot_run("control groups cannot be made here: not root, and nothing is delegated")
    return groups


def test_processes_and_their_children_move(tmp_path: Path) -> None:
    groups = real_groups()
    group = groups.new(ROOM)
    code = (
        "import os, sys\n"
        "if os.fork() == 0: sys.stdin.read(); os._exit(0)\n"
        "print(flush=True)\nos.wait()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        group.add(process.pid)
        files = [path for base in groups.folders for path in base.glob("*/cgroup.procs")]
        inside = [path.read_text().split() for path in files]
        own = [pids for pids in inside if str(process.pid) in pids]
        assert own
        assert {len(pids) for pids in own} == {2}
        process.kill()
    group.remove()
    groups.close()


@pytest.fixture(scope="module")
async def backend(anyio_backend: str) -> AsyncIterator[BubblewrapBackend]:
    real_groups()
    opened = await standing_backend()
    yield opened
    await opened.close()


@pytest.mark.anyio
async def test_all_processes_of_a_sandbox_are_in_its_group(backend: BubblewrapBackend) -> None:
    groups = real_groups()
    async with linked(backend) as (_, link):
        inside = descendants(link.pid)
        assert len(inside) >= 2
        files = [path for base in groups.folders for path in base.glob("*/cgroup.procs")]
        pids = [set(map(int, path.read_text().split())) for path in files]
        own = [each for each in pids if inside[0] in each]
        assert len(own) == len(groups.folders)
        assert all(set(inside) <= each for each in own)
        assert all(os.getpid() not in each for each in pids)


@pytest.mark.anyio
async def test_memory_is_limited_in_total(backend: BubblewrapBackend) -> None:
    assert (await backend.capabilities()).best_effort == ()
    code = """
import os, signal
children = []
for _ in range(8):
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        held = bytearray(100 * 2**20)
        os.write(writer, b"x")
        signal.pause()
    os.close(writer)
    children.append((pid, os.read(reader, 1)))
ended = [os.waitpid(pid, os.WNOHANG) for pid, _ in children]
print(sum(pid > 0 and os.WTERMSIG(status) == 9 for pid, status in ended))
"""
    room = Room(replace(LIMITS, memory_bytes=2**28), work_bytes=2**25)
    async with working(backend, room) as worker:
        result = await worker.run(task(code, limits=room.limits))
    if result.status == "ok":
        assert int(result.stdout) >= 3
    else:
        assert result.status == "oom"


@pytest.mark.anyio
async def test_a_task_that_is_killed_for_memory_is_oom(backend: BubblewrapBackend) -> None:
    code = """
import mmap
held = []
while True:
    page = mmap.mmap(-1, 2**24)
    page.write(bytes(2**24))
    held.append(page)
"""
    limits = replace(LIMITS, memory_bytes=2**33)
    room = Room(replace(limits, memory_bytes=2**26), work_bytes=2**25)
    async with working(backend, room) as worker:
        result = await worker.run(task(code, limits=limits))
    assert (result.status, result.exit_code) == ("oom", -9)
