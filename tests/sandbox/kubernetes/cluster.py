"""A pretended cluster: the API server's true wire, a Job controller and a node, in one process.

Only what lies outside this machine is pretended. The wire is in `apiserver.py`; containers really
run, see `container.py`. Faults are scripted.
"""

import asyncio
import contextlib
import copy
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any

from aiohttp import web

from tests.sandbox.kubernetes.apiserver import ApiServer
from tests.sandbox.kubernetes.container import Container, Image
from tests.sandbox.kubernetes.objects import Fault, Object, closed_policy, status

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")


class Cluster:
    """State and faults; `kubelet` may be replaced to make pods fare otherwise."""

    def __init__(self, image: Image) -> None:
        self.image = image
        self.jobs: dict[str, Object] = {}
        self.pods: dict[str, Object] = {}
        self.containers: dict[str, Container] = {}
        self.events: list[Object] = []
        self.policies: list[Object] = [closed_policy()]
        self.quotas: list[Object] = [{"metadata": {"name": "quota"}}]
        self.limits: list[Object] = [{"metadata": {"name": "limits"}}]
        self.runtime_classes: dict[str, str] = {}
        self.denied: set[str] = set()
        self.git_version = "v1.35.1"
        self.requests: list[str] = []
        self.authorizations: list[str | None] = []
        self.faults: list[Fault] = []
        self.pod_quota: int | None = None
        self.kubelet: Callable[[str], Any] = self.run
        self.is_network_open = False
        self.command: list[str] | None = None
        self.protocols = PROTOCOLS
        self.hold = asyncio.Event()
        # kubelets that do not tell a container that its host has left
        self.is_deaf = False
        self.sockets: set[web.WebSocketResponse] = set()
        self.url = ""
        self.version = 100
        self.oldest = 0
        self.history: list[tuple[int, str, Object]] = []
        self.watches: set[asyncio.Queue[Object | None]] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def serve(self, tls: ssl.SSLContext | None = None) -> AsyncIterator["Cluster"]:
        """Listen on loopback until the block is left; then nothing of it runs."""
        server = ApiServer(self)
        app = web.Application(middlewares=[server.script], client_max_size=2**24)
        app.add_routes(server.routes())
        runner = web.AppRunner(app, shutdown_timeout=0.5)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        self.port = runner.addresses[0][1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        try:
            yield self
        finally:
            self.hold.set()
            self.drop_watches()
            while self._tasks:
                # one that is just being started comes later
                for container in list(self.containers.values()):
                    await container.kill()
                await asyncio.wait(self._tasks, timeout=0.05)
            await runner.cleanup()

    def fail(self, method: str, path: str, status: int, **more: Any) -> None:
        """Script a fault."""
        self.faults.append(Fault(method, path, status, **more))

    def drop_watches(self) -> None:
        """Cut every watch as a proxy would that loses patience."""
        for queue in self.watches:
            queue.put_nowait(None)

    def compact(self) -> None:
        """Forget the past: who asks for it gets 410."""
        self.oldest = self.version
        self.history.clear()
        for queue in self.watches:
            queue.put_nowait({"type": "ERROR", "object": status(410, "Expired", "too old")})

    # the node

    async def run(self, name: str) -> None:
        """A kubelet: pull, start, follow to the end."""
        self.set_state(name, {"waiting": {"reason": "ContainerCreating"}}, "Pending")
        pod = copy.deepcopy(self.pods[name])
        if self.command is not None:
            pod["spec"]["containers"][0]["command"] = self.command
        variables = {
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": str(self.port),
        }
        container = await Container.start(pod, self.image, variables, is_open=self.is_network_open)
        if name not in self.pods:
            await container.kill()
            return
        self.containers[name] = container
        self.set_state(name, {"running": {"startedAt": "2026-01-01T00:00:00Z"}}, "Running")
        code = await container.wait()
        reason = "OOMKilled" if container.is_oom else ("Completed" if code == 0 else "Error")
        ended = {"terminated": {"exitCode": code, "reason": reason}}
        self.set_state(name, ended, "Succeeded" if code == 0 else "Failed")

    async def oom(self, name: str) -> None:
        """The kernel kills the container's first process for its memory."""
        self.containers[name].is_oom = True
        await self.containers[name].kill()

    async def evict(self, name: str) -> None:
        """The node is short of something and the pod has to go."""
        container = self.containers.pop(name)
        pod = self.pods[name]
        pod["status"] = {
            **pod["status"], "phase": "Failed", "reason": "Evicted",
            "message": "The node was low on resource: memory.",
        }  # fmt: skip
        pod["status"]["containerStatuses"][0]["state"] = {
            "terminated": {"exitCode": 137, "reason": "Error"}
        }
        self.emit("MODIFIED", name)
        await container.kill()

    def set_state(self, name: str, state: Object, phase: str, **more: Any) -> None:
        """Write a pod's status as its kubelet does."""
        pod = self.pods.get(name)
        if pod is None or pod["status"].get("reason") == "Evicted":
            return
        one = {"name": "sandbox", "image": "i", "imageID": "sha256:feed", "state": state}
        pod["status"] = {"phase": phase, "containerStatuses": [one], **more}
        self.emit("MODIFIED", name)

    # the controllers

    def emit(self, kind: str, name: str) -> None:
        """Tell all watches of a change."""
        self.version += 1
        pod = self.pods[name]
        pod["metadata"]["resourceVersion"] = str(self.version)
        seen = copy.deepcopy(pod)
        self.history.append((self.version, kind, seen))
        for queue in self.watches:
            queue.put_nowait({"type": kind, "object": seen})

    def spawn(self, work: Any) -> None:
        """Run in the background until the cluster closes."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def make_pod(self, job: str) -> None:
        """What the Job controller does for a new Job."""
        if self.pod_quota is not None and len(self.pods) >= self.pod_quota:
            message = f'Error creating: pods "{job}-x" is forbidden: exceeded quota: quota'
            involved = {"kind": "Job", "name": job}
            self.events.append(
                {"reason": "FailedCreate", "message": message, "involvedObject": involved}
            )
            return
        template = copy.deepcopy(self.jobs[job]["spec"]["template"])
        name = f"{job}-abcde"
        labels = {**template["metadata"]["labels"], "batch.kubernetes.io/job-name": job}
        self.pods[name] = {
            "metadata": {
                "name": name,
                "labels": labels,
                "finalizers": ["batch.kubernetes.io/job-tracking"],
            },
            "spec": template["spec"],
            "status": {"phase": "Pending"},
        }
        self.emit("ADDED", name)
        self.spawn(self.kubelet(name))

    async def remove_pod(self, name: str) -> None:
        """Kill it and forget it."""
        if container := self.containers.pop(name, None):
            await container.kill()
        if name in self.pods:
            self.emit("DELETED", name)
            del self.pods[name]
