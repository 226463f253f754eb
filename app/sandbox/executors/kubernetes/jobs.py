"""The Job of one sandbox: its pod's walls, written down. Pure.

It satisfies the `restricted` Pod Security Standard. Sizes are bytes. Everything writable is
memory with a size, so that limits hold, and of a task nothing but the log of its stream reaches
a node's disk.
"""

import json
import secrets
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from app.sandbox.executors.environment import task_environment
from app.sandbox.executors.kubernetes.site import CONTAINER, Site
from app.sandbox.executors.seccomp import ARCHITECTURES, build_filter
from app.sandbox.links import Room
from app.sandbox.types import IsolationError, Limits

NOBODY = 65534
TOOLS = "/opt/uaol"
_MIB = 2**20
SHM_BYTES = 16 * _MIB
# the runner with what it imported before user code came
_RUNNER_BYTES = 160 * _MIB
_LOG_BYTES = 128 * _MIB
_UIDS = range(2**20, 2**30)
_SPOKEN_TO_S, _POLICY_S, _FINISHED_S = 120, 20, 60
_SURVEY = Room(Limits(memory_bytes=256 * _MIB, tmp_bytes=16 * _MIB), work_bytes=16 * _MIB)
_GATE = Path(__file__).resolve().parents[4] / "sandbox" / "gate.py"

Mode = Literal["run", "survey"]
Object = dict[str, Any]


def check_room(room: Room, site: Site) -> None:
    """Refuse what a pod cannot be given, rather than start it without.

    Raises IsolationError: a server's folders and sockets do not exist on the cluster's nodes.
    """
    if room.egress is not None:
        raise IsolationError(
            "Tasks on Kubernetes have no network, so no egress policy either.",
            "Run without a policy, or choose the docker or bubblewrap executor.",
        )
    absent = [mount.target for mount in room.mounts if mount.target not in site.claims]
    if absent:
        raise IsolationError(
            f"Folders of the server cannot be seen on the cluster: {', '.join(absent)}.",
            "Put packages into the image, and data on a PersistentVolumeClaim that"
            " UAOL_SANDBOX_K8S_CLAIMS names.",
        )


@dataclass(frozen=True)
class Builder:
    """Writes the Jobs of one process.

    `has_user_namespace`: each pod gets one of its own; `has_kernel`: its runtime brings a kernel.
    """

    site: Site
    labels: Mapping[str, str]
    has_user_namespace: bool = False
    has_kernel: bool = False
    interpreter: str = "python3"

    def with_interpreter(self, path: str) -> "Builder":
        """The same with the image's own Python."""
        return replace(self, interpreter=path)

    def sandbox(self, name: str, room: Room) -> Object:
        """The `batch/v1` Job whose pod waits for a task."""
        return self._job(name, room, "run")

    def survey(self, name: str) -> Object:
        """A Job whose pod proves the walls, says what its image holds, and ends."""
        return self._job(name, _SURVEY, "survey")

    def _job(self, name: str, room: Room, mode: Mode) -> Object:
        return {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": name, "labels": dict(self.labels)},
            "spec": {
                "backoffLimit": 0, "completions": 1, "parallelism": 1,
                "activeDeadlineSeconds": self.site.pod_s,
                "ttlSecondsAfterFinished": _FINISHED_S,
                "template": {
                    "metadata": {
                        "labels": dict(self.labels),
                        # what runs in it cannot be moved
                        "annotations": {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"},
                    },
                    "spec": self._pod(room, mode),
                },
            },
        }  # fmt: skip

    def _pod(self, room: Room, mode: Mode) -> Object:
        runtime = self.site.runtime_class
        return {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False, "enableServiceLinks": False,
            "hostNetwork": False, "hostPID": False, "hostIPC": False,
            "shareProcessNamespace": False,
            **({"hostUsers": False} if self.has_user_namespace else {}),
            **({"runtimeClassName": runtime} if runtime else {}),
            "os": {"name": "linux"},
            "hostname": "sandbox",
            # None wants a name server; nobody listens at this one
            "dnsPolicy": "None", "dnsConfig": {"nameservers": ["127.0.0.1"]},
            "securityContext": self._identity(),
            "containers": [self._container(room, mode)],
            "volumes": [*_memory_volumes(room), *_claims(self.site)],
        }  # fmt: skip

    def _identity(self) -> Object:
        # The limit on processes counts a uid's, and where pods share a kernel and its users, over
        # the whole node: so there each sandbox is somebody else.
        is_alone = self.has_user_namespace or self.has_kernel
        uid = NOBODY if is_alone else _UIDS[secrets.randbelow(len(_UIDS))]
        profile = {"type": "RuntimeDefault"}
        if self.site.seccomp:
            profile = {"type": "Localhost", "localhostProfile": self.site.seccomp}
        return {
            "runAsNonRoot": True, "runAsUser": uid, "runAsGroup": uid, "seccompProfile": profile,
        }  # fmt: skip

    def _container(self, room: Room, mode: Mode) -> Object:
        is_run = mode == "run"
        return {
            "name": CONTAINER,
            "image": self.site.image,
            "imagePullPolicy": "IfNotPresent",
            "command": [self.interpreter, "-I", "-S", "-B", "-c", _gate(), _options(mode)],
            # stdin's end is the end of the host, and the runner leaves
            "stdin": is_run, "stdinOnce": is_run, "tty": False,
            "resources": self._resources(room),
            "securityContext": {
                "allowPrivilegeEscalation": False, "privileged": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": True, "runAsNonRoot": True, "procMount": "Default",
            },
            "volumeMounts": _places(self.site),
        }  # fmt: skip

    def _resources(self, room: Room) -> Object:
        given = {
            "cpu": f"{round(self.site.cpu * 1000)}m",
            "memory": str(memory_bytes(room)),
            # only the log of the stream lies on the node's disk
            "ephemeral-storage": str(_LOG_BYTES + room.limits.output_bytes),
        }
        return {"limits": given, "requests": dict(given)}


def memory_bytes(room: Room) -> int:
    """The memory of the whole pod; files in memory count, so they have their own."""
    limits = room.limits
    return limits.memory_bytes + sum(_sizes(room).values()) + _RUNNER_BYTES


def _sizes(room: Room) -> dict[str, int]:
    return {"task": room.work_bytes, "tmp": room.limits.tmp_bytes, "shm": SHM_BYTES}


def _memory_volumes(room: Room) -> list[Object]:
    return [
        {"name": name, "emptyDir": {"medium": "Memory", "sizeLimit": str(size)}}
        for name, size in _sizes(room).items()
    ]


def _claims(site: Site) -> list[Object]:
    return [
        {"name": f"data-{index}", "persistentVolumeClaim": {"claimName": name, "readOnly": True}}
        for index, name in enumerate(site.claims.values())
    ]


def _places(site: Site) -> list[Object]:
    memory = {"task": "/task", "tmp": "/tmp", "shm": "/dev/shm"}
    return [
        *({"name": name, "mountPath": path} for name, path in memory.items()),
        *(
            {"name": f"data-{index}", "mountPath": path, "readOnly": True}
            for index, path in enumerate(site.claims)
        ),
    ]


@cache
def _options(mode: Mode) -> str:
    return json.dumps({
        "mode": mode,
        "argv": ["-s", "-S", "-P", "-B", f"{TOOLS}/runner.pyc", "0", "1"],
        "environment": task_environment("kubernetes"),
        "filters": {name: b64encode(build_filter(name)).decode() for name in ARCHITECTURES},
        "seconds": _SPOKEN_TO_S,
        "patience": _POLICY_S,
        # a survey looks longer: a slow network must not pass for a closed one
        "connect": 1.0 if mode == "run" else 3.0,
    })  # fmt: skip


@cache
def _gate() -> str:
    try:
        return _GATE.read_text(encoding="utf-8")
    except OSError as error:
        hint = "The installation is incomplete: reinstall it."
        raise IsolationError(f"The gate is unreadable: {error.strerror}.", hint) from error
