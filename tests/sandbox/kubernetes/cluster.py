"""A pretended cluster: the API server's true wire, a Job controller and a node, in one process.

Only what lies outside this machine is pretended. Lists, watches (JSON lines in chunks, bookmarks,
410 after compaction), Status objects, deletion, logs and attach (channels over a WebSocket) are
as the API reference has them, and containers really run, see `container.py`. Faults are scripted.
"""

import asyncio
import contextlib
import copy
import json
import re
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

from tests.sandbox.kubernetes.container import Container, Image

Object = dict[str, Any]

NAMESPACE = "uaol-sandbox"
PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")


@dataclass
class Fault:
    """An answer given instead of the true one, `times` over. A `status` of 0 hangs up, of -2
    waits for the cluster's `hold` and then does what was asked.
    """

    method: str
    path: str
    status: int
    reason: str = "InternalError"
    message: str = "so it was scripted"
    headers: dict[str, str] = field(default_factory=dict)
    times: int = 1
    # whether the request is carried out before the answer is lost
    is_done: bool = False

    def fits(self, request: web.Request) -> bool:
        """Whether it is this request's turn."""
        is_match = request.method == self.method and re.search(self.path, request.path)
        return bool(is_match) and self.times > 0


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
        self._version = 100
        self._oldest = 0
        self._history: list[tuple[int, str, Object]] = []
        self._watches: set[asyncio.Queue[Object | None]] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def serve(self, tls: ssl.SSLContext | None = None) -> AsyncIterator["Cluster"]:
        """Listen on loopback until the block is left; then nothing of it runs."""
        app = web.Application(middlewares=[self._script], client_max_size=2**24)
        app.add_routes(self._routes())
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
        for queue in self._watches:
            queue.put_nowait(None)

    def compact(self) -> None:
        """Forget the past: who asks for it gets 410."""
        self._oldest = self._version
        self._history.clear()
        for queue in self._watches:
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
        self._version += 1
        pod = self.pods[name]
        pod["metadata"]["resourceVersion"] = str(self._version)
        seen = copy.deepcopy(pod)
        self._history.append((self._version, kind, seen))
        for queue in self._watches:
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

    # the API server

    def _routes(self) -> list[web.RouteDef]:
        core, batch = f"/api/v1/namespaces/{NAMESPACE}", f"/apis/batch/v1/namespaces/{NAMESPACE}"
        network = f"/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/networkpolicies"
        reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        return [
            web.get("/version", self._say(lambda: {"gitVersion": self.git_version})),
            web.post(reviews, self._review),
            web.get(network, self._items(lambda: self.policies)),
            web.get(f"{core}/resourcequotas", self._items(lambda: self.quotas)),
            web.get(f"{core}/limitranges", self._items(lambda: self.limits)),
            web.get("/apis/node.k8s.io/v1/runtimeclasses/{name}", self._runtime_class),
            web.get(f"{core}/events", self._list_events),
            web.post(f"{batch}/jobs", self._create_job),
            web.get(f"{batch}/jobs", self._items(lambda: list(self.jobs.values()))),
            web.delete(f"{batch}/jobs/{{name}}", self._delete_job),
            web.get(f"{core}/pods", self._pods),
            web.delete(f"{core}/pods/{{name}}", self._delete_pod),
            web.get(f"{core}/pods/{{name}}/log", self._log),
            web.get(f"{core}/pods/{{name}}/attach", self._attach),
        ]

    @web.middleware
    async def _script(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.requests.append(f"{request.method} {request.path}")
        self.authorizations.append(request.headers.get("Authorization"))
        for fault in self.faults:
            if fault.fits(request):
                fault.times -= 1
                if fault.status == -2:
                    await self.hold.wait()
                    return await handler(request)
                if fault.is_done:
                    await handler(request)
                return await self._suffer(fault, request)
        return await handler(request)

    async def _suffer(self, fault: Fault, request: web.Request) -> web.StreamResponse:
        if fault.status <= 0:
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        body = status(fault.status, fault.reason, fault.message)
        return web.json_response(body, status=fault.status, headers=fault.headers)

    def _say(self, answer: Callable[[], Object]) -> Any:
        async def handle(_request: web.Request) -> web.Response:
            return web.json_response(answer())

        return handle

    def _items(self, answer: Callable[[], list[Object]]) -> Any:
        return self._say(
            lambda: {"metadata": {"resourceVersion": str(self._version)}, "items": answer()}
        )

    async def _review(self, request: web.Request) -> web.Response:
        asked = (await request.json())["spec"]["resourceAttributes"]
        parts = [asked["resource"], asked.get("subresource")]
        right = f"{asked['verb']} {'/'.join(filter(None, parts))}"
        return web.json_response({"status": {"allowed": right not in self.denied}}, status=201)

    async def _runtime_class(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in self.runtime_classes:
            return web.json_response(status(404, "NotFound", name), status=404)
        return web.json_response({"handler": self.runtime_classes[name]})

    async def _list_events(self, request: web.Request) -> web.Response:
        fields = dict(one.split("=") for one in request.query["fieldSelector"].split(","))
        name = fields["involvedObject.name"]
        found = [one for one in self.events if one["involvedObject"]["name"] == name]
        return web.json_response({"items": found})

    async def _create_job(self, request: web.Request) -> web.Response:
        job = await request.json()
        name = job["metadata"]["name"]
        if name in self.jobs:
            return web.json_response(status(409, "AlreadyExists", name), status=409)
        self.jobs[name] = job
        self.make_pod(name)
        return web.json_response(job, status=201)

    async def _delete_job(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in self.jobs:
            return web.json_response(status(404, "NotFound", name), status=404)
        options = await request.json()
        assert options["propagationPolicy"] == "Background"
        del self.jobs[name]
        self.spawn(self.remove_pod(f"{name}-abcde"))
        return web.json_response({"kind": "Status", "status": "Success"})

    async def _delete_pod(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in self.pods:
            return web.json_response(status(404, "NotFound", name), status=404)
        assert (await request.json())["gracePeriodSeconds"] == 0
        await self.remove_pod(name)
        return web.json_response({"kind": "Status", "status": "Success"})

    async def _pods(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("watch") == "1":
            return await self._watch(request)
        items = [copy.deepcopy(pod) for pod in self.pods.values() if selected(pod, request)]
        version = {"resourceVersion": str(self._version)}
        return web.json_response({"metadata": version, "items": items})

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        since = int(request.query["resourceVersion"])
        if since < self._oldest:
            return web.json_response(status(410, "Expired", "too old"), status=410)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        queue: asyncio.Queue[Object | None] = asyncio.Queue()
        for version, kind, pod in self._history:
            if version > since:
                queue.put_nowait({"type": kind, "object": pod})
        self._watches.add(queue)
        try:
            await response.prepare(request)
            while (event := await queue.get()) is not None:
                if event["type"] == "ERROR" or selected(event["object"], request):
                    # who watched may have left
                    with contextlib.suppress(OSError):
                        await response.write(json.dumps(event).encode() + b"\n")
                if event["type"] == "ERROR":
                    return response
            if request.transport is not None:
                request.transport.abort()
        finally:
            self._watches.discard(queue)
        return response

    async def _log(self, request: web.Request) -> web.Response:
        container = self.containers[request.match_info["name"]]
        return web.Response(body=bytes(container.log), content_type="text/plain")

    async def _attach(self, request: web.Request) -> web.StreamResponse:
        container = self.containers.get(request.match_info["name"])
        if container is None:
            return web.json_response(status(400, "BadRequest", "not running"), status=400)
        socket = web.WebSocketResponse(protocols=self.protocols, max_msg_size=2**24)
        await socket.prepare(request)

        async def sink(channel: int, data: bytes) -> None:
            await socket.send_bytes(bytes([channel]) + data)

        container.sink = sink
        self.sockets.add(socket)
        watching = asyncio.create_task(self._tell_end(container, socket))
        async for message in socket:
            if message.type is WSMsgType.BINARY and message.data[:1] == b"\0":
                await container.write(message.data[1:])
        container.sink = None
        self.sockets.discard(socket)
        if not self.is_deaf:
            container.close_stdin()
        watching.cancel()
        return socket

    async def _tell_end(self, container: Container, socket: web.WebSocketResponse) -> None:
        code = await container.wait()
        end = {"status": "Success"} if code == 0 else status(500, "NonZeroExitCode", f"exit {code}")
        with contextlib.suppress(OSError):
            await socket.send_bytes(b"\3" + json.dumps(end).encode())
        await socket.close()


def closed_policy() -> Object:
    """The policy of sandbox/kubernetes."""
    spec = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    return {"metadata": {"name": "closed"}, "spec": spec}


def status(code: int, reason: str, message: str) -> Object:
    """A Status object of the API."""
    return {
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
        "reason": reason, "message": message,
    }  # fmt: skip


def selected(pod: Object, request: web.Request) -> bool:
    """Whether the request's label selector, of equalities, takes the pod."""
    wanted = dict(one.split("=") for one in request.query["labelSelector"].split(","))
    labels = pod["metadata"]["labels"]
    return all(labels.get(name) == value for name, value in wanted.items())
