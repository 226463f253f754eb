"""Every wall and limit is really set: asked of the engine, and looked at from the host."""

import json
from pathlib import Path
from typing import Any

import pytest

from app.sandbox.executors.docker import DockerBackend
from app.sandbox.executors.docker.link import DockerLink
from app.sandbox.executors.oci_profile import oci_profile
from app.sandbox.links import Mounted, Room
from tests.sandbox.docker.conftest import ROOM, SMALL
from tests.sandbox.docker.engine import docker, until

pytestmark = pytest.mark.anyio

MIB = 2**20


def inspect(link: DockerLink) -> dict[str, Any]:
    return dict(json.loads(docker("inspect", link.container))[0])


async def host_pid(link: DockerLink) -> int:
    """The runner's pid as the host knows it, once it is the runner."""
    pid = int(inspect(link)["State"]["Pid"])
    await until(lambda: b"runner.pyc" in Path(f"/proc/{pid}/cmdline").read_bytes())
    return pid


async def test_the_engine_knows_every_wall(link: DockerLink) -> None:
    told = inspect(link)
    host, config = told["HostConfig"], told["Config"]
    expected = {
        "Privileged": False, "ReadonlyRootfs": True, "CapDrop": ["ALL"], "CapAdd": None,
        "NetworkMode": "none", "IpcMode": "none", "CgroupnsMode": "private", "PidMode": "",
        "UTSMode": "", "Runtime": "runc", "AutoRemove": False, "Devices": None, "Binds": None,
        "VolumesFrom": None, "PidsLimit": SMALL.processes + 1, "NanoCpus": 10**9,
        "LogConfig": {"Type": "none", "Config": {}},
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
    }  # fmt: skip
    assert {name: host[name] for name in expected} == expected
    assert config["User"] == "65534:65534"
    assert host["Memory"] == host["MemorySwap"] == SMALL.memory_bytes + (8 + 16 + 16 + 160) * MIB
    limits = {one["Name"]: (one["Soft"], one["Hard"]) for one in host["Ulimits"]}
    assert limits == {
        "core": (0, 0), "nofile": (4096, 4096), "fsize": (16 * MIB, 16 * MIB), "msgqueue": (0, 0)
    }  # fmt: skip


async def test_the_filter_and_no_new_privileges_are_told(link: DockerLink) -> None:
    options = inspect(link)["HostConfig"]["SecurityOpt"]
    assert options[0] == "no-new-privileges:true"
    assert json.loads(options[1].removeprefix("seccomp=")) == oci_profile()
    assert len(options) == 2


async def test_what_can_be_written_is_sized_counted_and_not_executable(link: DockerLink) -> None:
    tmpfs = inspect(link)["HostConfig"]["Tmpfs"]
    assert set(tmpfs) == {"/task", "/tmp", "/dev/shm"}
    for path, size in {"/task": 16 * MIB, "/tmp": 8 * MIB, "/dev/shm": 16 * MIB}.items():
        options = set(tmpfs[path].split(","))
        assert {f"size={size}", "nr_inodes=16384", "noexec", "nosuid", "nodev"} <= options


async def test_the_kernel_agrees(link: DockerLink) -> None:
    """What the engine was told, as the kernel has it for the runner itself."""
    pid = await host_pid(link)
    text = Path(f"/proc/{pid}/status").read_text()
    status = dict(line.split(":\t", 1) for line in text.splitlines())
    assert status["Uid"].split() == status["Gid"].split() == ["65534"] * 4
    assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {
        "0" * 16
    }
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    mounts = _mounts(pid)
    assert "ro" in mounts["/"]
    for path in ("/task", "/tmp", "/dev/shm"):
        assert {"noexec", "nosuid", "nodev", "nr_inodes=16384"} <= mounts[path]
    assert not set(mounts) & {"/etc/resolv.conf", "/etc/hosts"}
    devices = Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]
    assert [line.split(":")[0].strip() for line in devices] == ["lo"]


async def test_every_namespace_is_its_own(link: DockerLink) -> None:
    pid = await host_pid(link)
    for kind in ("mnt", "pid", "net", "ipc", "uts", "cgroup"):
        inside, ours = (Path(f"/proc/{which}/ns/{kind}").readlink() for which in (pid, "self"))
        assert inside != ours, kind


async def test_masked_paths_are_empty(link: DockerLink) -> None:
    pid = await host_pid(link)
    root = Path(f"/proc/{pid}/root")
    assert list((root / "sys").iterdir()) == []
    assert (root / "proc/kallsyms").read_bytes() == b""
    assert not (root / "var").exists()
    assert not (root / "etc/shadow").exists()


async def test_nothing_of_the_host_is_in_its_environment(
    engine: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    proxies = {"proxies": {"default": {"httpProxy": "http://canary-5f2b:1"}}}
    (tmp_path / "config.json").write_text(json.dumps(proxies))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("UAOL_CANARY", "canary-5f2b")
    monkeypatch.setenv("PATH", f"/canary-5f2b:{Path('/usr/bin')}:/usr/local/bin")
    backend = DockerBackend()
    link = await backend.launch(ROOM)
    told = json.dumps(inspect(link))
    environment = Path(f"/proc/{await host_pid(link)}/environ").read_bytes()
    await link.kill()
    await backend.close()
    assert "canary" not in told
    assert b"canary" not in environment
    assert b"PATH=/usr/local/bin:/usr/bin:/bin\0" in environment


async def test_folders_of_the_host_come_read_only(backend: DockerBackend, tmp_path: Path) -> None:
    data, door = tmp_path / "data: one", tmp_path / "door"
    data.mkdir()
    door.mkdir()
    (data / "genome").write_text("ACGT")
    room = Room(SMALL, mounts=(Mounted(data, "/data/genomes"),), egress=door)
    link = await backend.launch(room)
    pid = await host_pid(link)
    mounts = _mounts(pid)
    assert {"ro"} <= mounts["/data/genomes"] & mounts["/run/egress"]
    assert Path(f"/proc/{pid}/root/data/genomes/genome").read_text() == "ACGT"
    (door / "proxy.sock").touch()
    assert Path(f"/proc/{pid}/root/run/egress/proxy.sock").exists()
    await link.kill()


def _mounts(pid: int) -> dict[str, set[str]]:
    """Mount points and their options, those of the mount and those of the file system."""
    found = {}
    for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines():
        fields = line.split()
        found[fields[4]] = set(fields[5].split(",")) | set(fields[-1].split(","))
    return found
