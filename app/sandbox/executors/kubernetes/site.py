"""Where on a cluster the sandboxes live, and which of them are this process's."""

import hashlib
import platform
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from app.kernel.settings import Settings
from app.sandbox.executors.processes import is_alive, process_id
from app.sandbox.types import IsolationError

MANAGER = "app.kubernetes.io/managed-by"
COMPONENT = "app.kubernetes.io/component"
INSTANCE = "uaol-instance"
OWNED = {MANAGER: "uaol", COMPONENT: "sandbox"}
CONTAINER = "sandbox"


@dataclass(frozen=True)
class Site:
    """The operator's choices; see the settings `UAOL_SANDBOX_K8S_*`.

    `seccomp` is a profile's path on the nodes, below the kubelet's seccomp folder. `claims` maps
    folders that sandboxes see, read-only, to PersistentVolumeClaims of the namespace. A pod lives
    `pod_s` seconds at most, whatever happens to its server.
    """

    image: str = ""
    namespace: str = "uaol-sandbox"
    context: str | None = None
    runtime_class: str | None = None
    seccomp: str | None = None
    user_namespaces: Literal["auto", "on", "off"] = "auto"
    cpu: float = 1.0
    pod_s: int = 7200
    claims: Mapping[str, str] = field(default_factory=dict)

    def check(self) -> None:
        """Raises IsolationError where a setting without which nothing works is missing."""
        if not self.image:
            hint = "Set UAOL_SANDBOX_K8S_IMAGE to an image built from sandbox/Dockerfile."
            raise IsolationError("No image is named for the sandboxes on Kubernetes.", hint)


def site_of(settings: Settings) -> Site:
    """The site that the settings `UAOL_SANDBOX_K8S_*` describe."""
    return Site(
        image=settings.sandbox_k8s_image,
        namespace=settings.sandbox_k8s_namespace,
        context=settings.sandbox_k8s_context,
        runtime_class=settings.sandbox_k8s_runtime_class,
        seccomp=settings.sandbox_k8s_seccomp,
        user_namespaces=settings.sandbox_k8s_user_namespaces,
        cpu=settings.sandbox_k8s_cpu,
        pod_s=settings.sandbox_k8s_pod_seconds,
        claims=settings.sandbox_k8s_claims,
    )


@dataclass(frozen=True)
class Instance:
    """This process's mark on what it makes: its machine, which is host name and boot, and its id,
    so that "is that process alive?" is only asked where the answer means something.
    """

    machine: str
    process: str

    @property
    def label(self) -> str:
        """The label's value, at most 63 characters."""
        return f"{self.machine}-{self.process}"

    @property
    def labels(self) -> dict[str, str]:
        """All labels of this process's Jobs and pods."""
        return {**OWNED, INSTANCE: self.label}

    @property
    def selector(self) -> str:
        """The label selector for these."""
        return ",".join(f"{name}={value}" for name, value in self.labels.items())

    def is_orphan(self, label: str) -> bool:
        """Whether `label` marks a process of this machine that has ended."""
        machine, _, process = label.partition("-")
        return machine == self.machine and is_alive(process) is False


def this_instance() -> Instance:
    """The mark of the process that asks."""
    parts = (platform.node(), _text("/proc/sys/kernel/random/boot_id"))
    machine = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    return Instance(machine, process_id())


def new_name() -> str:
    """A fresh name for a Job; a name that is taken all the same is answered with 409."""
    return f"uaol-{secrets.token_hex(6)}"


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except OSError:
        return ""
