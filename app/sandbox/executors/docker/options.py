"""What a container is made of: every wall and every limit, as the engine's API takes them. Pure.

No user namespace stands between the task and the host here, so nothing else may be left out: an
unprivileged uid, no capability, no way to new privileges, our own system-call filter, a
read-only root, sized and counted tmpfs for all that can be written, and a cgroup for the rest.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from app.sandbox.executors.docker.facts import TOOLS, EngineFacts, ImageFacts
from app.sandbox.executors.environment import task_environment
from app.sandbox.executors.oci_profile import oci_profile
from app.sandbox.links import Room
from app.sandbox.types import Limits

UNPRIVILEGED = 65534
EGRESS = "/run/egress"
_MIB = 2**20
_SHM_BYTES = 16 * _MIB
# the runner with what it imported before user code came
_RUNNER_BYTES = 160 * _MIB
_INODES = 16_384
_OPEN_FILES = 4096
_MASKED = (
    "/sys", "/proc/acpi", "/proc/asound", "/proc/config.gz", "/proc/interrupts", "/proc/iomem",
    "/proc/ioports", "/proc/kallsyms", "/proc/kcore", "/proc/keys", "/proc/key-users",
    "/proc/kmsg", "/proc/kpagecount", "/proc/kpageflags", "/proc/latency_stats", "/proc/modules",
    "/proc/sched_debug", "/proc/schedstat", "/proc/scsi", "/proc/slabinfo", "/proc/swaps",
    "/proc/timer_list", "/proc/timer_stats", "/proc/vmallocinfo",
)  # fmt: skip
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


@dataclass(frozen=True)
class Maker:
    """What all containers of one backend share."""

    image: ImageFacts
    labels: Mapping[str, str]
    about: EngineFacts
    cpus: float

    def container(self, room: Room) -> dict[str, Any]:
        """The body of `POST /containers/create` for a room."""
        image = self.image
        return {
            # by its id: a tag may point elsewhere by now
            "Image": image.id,
            "Entrypoint": [image.interpreter, "-s", "-S", "-P", "-B", f"{TOOLS}/runner.pyc"],
            "Cmd": ["0", "1"],
            "User": f"{UNPRIVILEGED}:{UNPRIVILEGED}",
            "WorkingDir": "/task",
            "Hostname": "sandbox",
            "Env": [f"{name}={value}" for name, value in task_environment("docker").items()],
            "Labels": dict(self.labels),
            "AttachStdin": True, "AttachStdout": True, "AttachStderr": True,
            # our end of the wire is the only one: with it gone, the runner reads its end
            "OpenStdin": True, "StdinOnce": True, "Tty": False,
            "NetworkDisabled": True,
            "Healthcheck": {"Test": ["NONE"]},
            # An engine that shuts down waits for nobody. No StopTimeout of 0 for that: one that
            # is to kill what has just ended waits so long to be told, then notes the end itself,
            # and it would be noted twice.
            "StopSignal": "SIGKILL",
            "HostConfig": self._host(room),
        }  # fmt: skip

    def _host(self, room: Room) -> dict[str, Any]:
        limits, memory = room.limits, memory_bytes(room)
        return {
            "Runtime": self.about.runtime,
            "NetworkMode": "none", "IpcMode": "none", "CgroupnsMode": "private",
            "Privileged": False, "CapDrop": ["ALL"], "ReadonlyRootfs": True,
            "SecurityOpt": ["no-new-privileges:true", f"seccomp={_profile()}"],
            "MaskedPaths": list(_MASKED), "ReadonlyPaths": list(_READ_ONLY),
            # the same number twice: no swap
            "Memory": memory, "MemorySwap": memory,
            "NanoCpus": int(self.cpus * 1e9),
            "PidsLimit": self._processes(room),
            "Ulimits": _ulimits(room),
            "Tmpfs": _tmpfs(limits, room.work_bytes),
            "Mounts": _mounts(room),
            "LogConfig": {"Type": "none", "Config": {}},
            "RestartPolicy": {"Name": "no"},
            "Init": False, "AutoRemove": False,
        }  # fmt: skip

    def _processes(self, room: Room) -> int:
        # the runner is one of them, and so is its relay
        ours = 1 + (room.egress is not None)
        return room.limits.processes + ours + self.about.spare_processes


def memory_bytes(room: Room) -> int:
    """The memory of the whole container; files in tmpfs count as memory, so they have their own."""
    limits = room.limits
    files = limits.tmp_bytes + room.work_bytes + _SHM_BYTES
    return limits.memory_bytes + files + _RUNNER_BYTES


@cache
def _profile() -> str:
    return json.dumps(oci_profile())


def _ulimits(room: Room) -> list[dict[str, Any]]:
    largest = max(room.limits.tmp_bytes, room.work_bytes)
    hard = {"core": 0, "nofile": _OPEN_FILES, "fsize": largest, "msgqueue": 0}
    return [{"Name": name, "Soft": value, "Hard": value} for name, value in hard.items()]


def _tmpfs(limits: Limits, work_bytes: int) -> dict[str, str]:
    sizes = {"/task": work_bytes, "/tmp": limits.tmp_bytes, "/dev/shm": _SHM_BYTES}
    walls = f"noexec,nosuid,nodev,mode=0755,uid={UNPRIVILEGED},gid={UNPRIVILEGED}"
    return {path: f"size={size},nr_inodes={_INODES},{walls}" for path, size in sizes.items()}


def _mounts(room: Room) -> list[dict[str, Any]]:
    mounts = [_bind(mounted.source, mounted.target) for mounted in room.mounts]
    return [*mounts, *([_bind(room.egress, EGRESS)] if room.egress else [])]


def _bind(source: Path, target: str) -> dict[str, Any]:
    # what is mounted below the source would stay writable, so it is left out
    options = {"Propagation": "rprivate", "NonRecursive": True}
    return {
        "Type": "bind", "Source": str(source.resolve()), "Target": target, "ReadOnly": True,
        "BindOptions": options,
    }  # fmt: skip
