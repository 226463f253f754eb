"""The API server of the pretended cluster: its true wire over the cluster's state.

Lists, watches (JSON lines in chunks, bookmarks, 410 after compaction), Status objects, deletion,
logs and attach (channels over a WebSocket) are as the API reference has them.
"""

import asyncio
import contextlib
import copy
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aiohttp import WSMsgType, web

from tests.sandbox.kubernetes.container import Container
from tests.sandbox.kubernetes.objects import NAMESPACE, Fault, Object, status

if TYPE_CHECKING:
    from tests.sandbox.kubernetes.cluster import Cluster


class ApiServer:
    """Answers requests on a cluster."""

    def __init__(self, cluster: "Cluster") -> None:
        self.cluster = cluster

    def routes(self) -> list[web.RouteDef]:
        """What is served."""
        core, batch = f"/api/v1/namespaces/{NAMESPACE}", f"/apis/batch/v1/namespaces/{NAMESPACE}"
        network = f"/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/networkpolicies"
        reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        return [
            web.get("/version", self._say(lambda: {"gitVersion": self.cluster.git_version})),
            web.post(reviews, self._review),
            web.get(network, self._items(lambda: self.cluster.policies)),
            web.get(f"{core}/resourcequotas", self._items(lambda: self.cluster.quotas)),
            web.get(f"{core}/limitranges", self._items(lambda: self.cluster.limits)),
            web.get("/apis/node.k8s.io/v1/runtimeclasses/{name}", self._runtime_class),
            web.get(f"{core}/events", self._list_events),
            web.post(f"{batch}/jobs", self._create_job),
            web.get(f"{batch}/jobs", self._items(lambda: list(self.cluster.jobs.values()))),
            web.delete(f"{batch}/jobs/{{name}}", self._delete_job),
            web.get(f"{core}/pods", self._pods),
            web.delete(f"{core}/pods/{{name}}", self._delete_pod),
            web.get(f"{core}/pods/{{name}}/log", self._log),
            web.get(f"{core}/pods/{{name}}/attach", self._attach),
        ]

    @web.middleware
    async def script(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Give scripted answers in place of the true ones."""
        self.cluster.requests.append(f"{request.method} {request.path}")
        self.cluster.authorizations.append(request.headers.get("Authorization"))
        for fault in self.cluster.faults:
            if fault.fits(request):
                fault.times -= 1
                if fault.status == -2:
                    await self.cluster.hold.wait()
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
            lambda: {"metadata": {"resourceVersion": str(self.cluster.version)}, "items": answer()}
        )

    async def _review(self, request: web.Request) -> web.Response:
        asked = (await request.json())["spec"]["resourceAttributes"]
        parts = [asked["resource"], asked.get("subresource")]
        right = f"{asked['verb']} {'/'.join(filter(None, parts))}"
        return web.json_response(
            {"status": {"allowed": right not in self.cluster.denied}}, status=201
        )

    async def _runtime_class(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in self.cluster.runtime_classes:
            return web.json_response(status(404, "NotFound", name), status=404)
        return web.json_response({"handler": self.cluster.runtime_classes[name]})

    async def _list_events(self, request: web.Request) -> web.Response:
        fields = dict(one.split("=") for one in request.query["fieldSelector"].split(","))
        name = fields["involvedObject.name"]
        found = [one for one in self.cluster.events if one["involvedObject"]["name"] == name]
        return web.json_response({"items": found})

    async def _create_job(self, request: web.Request) -> web.Response:
        job = await request.json()
        name = job["metadata"]["name"]
        if name in self.cluster.jobs:
            return web.json_response(status(409, "AlreadyExists", name), status=409)
        self.cluster.jobs[name] = job
        self.cluster.make_pod(name)
        return web.json_response(job, status=201)

    async def _delete_job(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in self.cluster.jobs:
            return web.json_response(status(404, "NotFound", name), status=404)
        options = await request.json()
        assert options["propagationPolicy"] == "Background"
        del self.cluster.jobs[name]
        self.cluster.spawn(self.cluster.remove_pod(f"{name}-abcde"))
        return web.json_response({"kind": "Status", "status": "Success"})

    async def _delete_pod(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in self.cluster.pods:
            return web.json_response(status(404, "NotFound", name), status=404)
        assert (await request.json())["gracePeriodSeconds"] == 0
        await self.cluster.remove_pod(name)
        return web.json_response({"kind": "Status", "status": "Success"})

    async def _pods(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("watch") == "1":
            return await self._watch(request)
        items = [copy.deepcopy(pod) for pod in self.cluster.pods.values() if selected(pod, request)]
        version = {"resourceVersion": str(self.cluster.version)}
        return web.json_response({"metadata": version, "items": items})

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        since = int(request.query["resourceVersion"])
        if since < self.cluster.oldest:
            return web.json_response(status(410, "Expired", "too old"), status=410)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        queue: asyncio.Queue[Object | None] = asyncio.Queue()
        for version, kind, pod in self.cluster.history:
            if version > since:
                queue.put_nowait({"type": kind, "object": pod})
        self.cluster.watches.add(queue)
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
            self.cluster.watches.discard(queue)
        return response

    async def _log(self, request: web.Request) -> web.Response:
        container = self.cluster.containers[request.match_info["name"]]
        return web.Response(body=bytes(container.log), content_type="text/plain")

    async def _attach(self, request: web.Request) -> web.StreamResponse:
        container = self.cluster.containers.get(request.match_info["name"])
        if container is None:
            return web.json_response(status(400, "BadRequest", "not running"), status=400)
        socket = web.WebSocketResponse(protocols=self.cluster.protocols, max_msg_size=2**24)
        await socket.prepare(request)

        async def sink(channel: int, data: bytes) -> None:
            await socket.send_bytes(bytes([channel]) + data)

        container.sink = sink
        self.cluster.sockets.add(socket)
        watching = asyncio.create_task(self._tell_end(container, socket))
        async for message in socket:
            if message.type is WSMsgType.BINARY and message.data[:1] == b"\0":
                await container.write(message.data[1:])
        container.sink = None
        self.cluster.sockets.discard(socket)
        if not self.cluster.is_deaf:
            container.close_stdin()
        watching.cancel()
        return socket

    async def _tell_end(self, container: Container, socket: web.WebSocketResponse) -> None:
        code = await container.wait()
        end = {"status": "Success"} if code == 0 else status(500, "NonZeroExitCode", f"exit {code}")
        with contextlib.suppress(OSError):
            await socket.send_bytes(b"\3" + json.dumps(end).encode())
        await socket.close()


def selected(pod: Object, request: web.Request) -> bool:
    """Whether the request's label selector, of equalities, takes the pod."""
    wanted = dict(one.split("=") for one in request.query["labelSelector"].split(","))
    labels = pod["metadata"]["labels"]
    return all(labels.get(name) == value for name, value in wanted.items())
