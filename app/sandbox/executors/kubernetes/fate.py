"""What a pod's status means: whether it is up, and what its end says. Pure.

Source: PodStatus and ContainerStatus of the Kubernetes API; the reasons are the kubelet's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.sandbox.executors.kubernetes.site import CONTAINER
from app.sandbox.links import Fate
from app.sandbox.types import IsolationError

Pod = Mapping[str, Any]

# Waiting for one of these gets nobody anywhere.
_HOPELESS = frozenset({
    "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull",
    "ImageInspectError", "RegistryUnavailable", "CreateContainerConfigError",
    "CreateContainerError", "RunContainerError", "CrashLoopBackOff", "StartError",
})  # fmt: skip
# The kubelet's words for a pod that went beyond what it was given (eviction manager).
_OWN_LIMITS = ("exceeds the limit", "exceeded its local ephemeral storage", "exceeds the total")
_APPLY = "Apply sandbox/kubernetes, and use a network plugin that enforces NetworkPolicy."
# The exit codes of sandbox/gate.py.
_IMAGE = "Build one from sandbox/Dockerfile and name it in UAOL_SANDBOX_K8S_IMAGE."
_GATE = {
    93: ("The image for Kubernetes is not a sandbox image.", _IMAGE),
    94: ("The pod is not told where the cluster's API server is, so its walls are unproven.",
         "Use a cluster whose kubelet sets KUBERNETES_SERVICE_HOST."),
    95: ("The node refused the system-call filter.",
         "Use nodes of x86_64 or aarch64 whose kernel has seccomp filters."),
    97: ("No NetworkPolicy is enforced: a sandbox could reach the cluster's API server.", _APPLY),
}  # fmt: skip


@dataclass(frozen=True)
class End:
    """How a pod ended, in the cluster's words; `code` is its process's, where it had one.

    `is_outage`: the cluster took the pod away for reasons of its own.
    """

    reason: str
    message: str = ""
    code: int | None = None
    is_outage: bool = False

    def text(self) -> str:
        """One line for a person."""
        said = f"{self.reason}: {self.message}" if self.message else self.reason
        return said if self.code is None else f"{said} (exit code {self.code})"


def is_up(pod: Pod) -> bool:
    """Whether the sandbox's container runs, so that it can be attached to."""
    return "running" in _state(pod)


def end(pod: Pod) -> End | None:
    """How it ended, or why it cannot begin; None while there is hope or life."""
    status, state = pod.get("status") or {}, _state(pod)
    taken, told = str(status.get("reason") or ""), str(status.get("message") or "").strip()
    # what it was evicted for may also be its own doing
    is_outage = bool(taken) and not any(mark in told for mark in _OWN_LIMITS)
    if ended := state.get("terminated"):
        reason = taken or str(ended.get("reason") or "Terminated")
        said = told or str(ended.get("message") or "").strip()
        return End(reason, said, ended.get("exitCode"), is_outage)
    if status.get("phase") in ("Failed", "Succeeded"):
        return End(taken or str(status["phase"]), told, is_outage=is_outage)
    waiting = state.get("waiting") or {}
    if waiting.get("reason") in _HOPELESS:
        return End(str(waiting["reason"]), str(waiting.get("message") or ""))
    return None


def delay(pod: Pod | None) -> str:
    """What a sandbox that is not up waits for; `` where nothing is known."""
    if pod is None:
        return ""
    for condition in (pod.get("status") or {}).get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return f"{condition.get('reason')}: {condition.get('message', '')}".strip(": ")
    waiting = _state(pod).get("waiting") or {}
    return str(waiting.get("reason") or "")


def fate(pod: Pod | None, trouble: str = "", *, is_cut: bool = False) -> Fate:
    """The outside's view of a sandbox that has ended; `trouble` is what else is known of it.

    `is_cut`: its stream ended, and nobody here had asked for that.
    """
    ended = end(pod) if pod is not None else None
    if ended is None:
        complaint = trouble or delay(pod)
        outage = (complaint or "the stream to its pod broke") if is_cut else ""
        return Fate(complaint=complaint, outage=outage)
    if ended.reason == "OOMKilled":
        return Fate(is_oom=True)
    said = ended.text() if ended.code != 0 else ""
    complaint = "; ".join(filter(None, (said, trouble)))
    return Fate(complaint=complaint, outage=ended.text() if ended.is_outage else "")


def check_gate(pod: Pod | None) -> None:
    """Raises IsolationError if the pod left because its walls do not stand."""
    ended = end(pod) if pod is not None else None
    if ended is not None and ended.code in _GATE:
        raise IsolationError(*_GATE[ended.code])


def image_id(pod: Pod) -> str:
    """The image's digest as the node knows it, or its name."""
    found = _container(pod)
    return str(found.get("imageID") or found.get("image") or "")


def _state(pod: Pod) -> Mapping[str, Any]:
    return _container(pod).get("state") or {}


def _container(pod: Pod) -> Mapping[str, Any]:
    for container in (pod.get("status") or {}).get("containerStatuses") or []:
        if container.get("name") == CONTAINER:
            return dict(container)
    return {}
