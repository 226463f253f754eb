"""One namespace of a cluster: Jobs made, looked after and removed, and their pods' streams."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

import aiohttp

from app.sandbox.executors.kubernetes.api import Api, ApiError
from app.sandbox.executors.kubernetes.fate import end, is_up
from app.sandbox.executors.kubernetes.site import CONTAINER, INSTANCE, OWNED, Instance, new_name
from app.sandbox.executors.kubernetes.watch import Followed, PodWatch
from app.sandbox.types import IsolationError

logger = logging.getLogger(__name__)

_NAMES, _POSTS = 4, 3
_REMOVE_SECONDS = 10.0
_CLOSE_SECONDS = 5.0
_NO_POD_SECONDS = 2.0
_GONE_SECONDS = 2.0
_ATTACHES = 8
_NOW = {"propagationPolicy": "Background", "gracePeriodSeconds": 0}
# What no second attempt changes, but the operator can.
_REFUSED = {
    400: "Look at the cluster's admission rules.",
    401: "The credentials of the kubeconfig or service account are not accepted; renew them.",
    403: "Apply sandbox/kubernetes/rbac.yaml, and bind it to the server's account.",
    404: "Apply sandbox/kubernetes: the namespace is missing.",
    422: "The cluster refuses such a pod; look at the settings UAOL_SANDBOX_K8S_*.",
}


class Namespace:
    """Jobs of this process in one namespace."""

    def __init__(self, api: Api, name: str, instance: Instance) -> None:
        """Nothing is asked of the cluster before a method is called."""
        self.api, self.name, self.instance = api, name, instance
        self.watch = PodWatch(api, name, instance.selector)
        self._jobs = f"/apis/batch/v1/namespaces/{name}/jobs"
        self._pods = f"/api/v1/namespaces/{name}/pods"
        self._events = f"/api/v1/namespaces/{name}/events"
        self._late: set[asyncio.Task[None]] = set()

    async def create(self, build: Callable[[str], dict[str, Any]]) -> tuple[str, Followed]:
        """Make the Job that `build` gives for a name; its name, and its pod to follow.

        Raises IsolationError for what only the operator can mend, OSError for what may pass,
        such as a quota that is used up.
        """
        self.watch.start()
        for attempt in range(_NAMES):
            name = new_name()
            followed = self.watch.follow(name)
            try:
                await self._make(build(name))
            except BaseException as error:
                self.watch.forget(name)
                if not isinstance(error, ApiError) or error.status == 0:
                    self._remove_late(name, Followed())  # it may have been made all the same
                if not isinstance(error, ApiError):
                    raise
                if error.status == 409 and attempt < _NAMES - 1:
                    continue
                raise explained(error) from error
            return name, followed
        raise AssertionError("the last attempt returns or raises")

    async def _make(self, body: dict[str, Any]) -> None:
        """Post a Job. An answer that got lost is asked for again: a name is only ever ours."""
        is_unsure = False
        for attempt in range(_POSTS):
            try:
                await self.api.create(self._jobs, body)
                return
            except ApiError as error:
                if error.status == 409 and is_unsure:
                    return
                if error.status != 0 or attempt == _POSTS - 1:
                    raise
                is_unsure = True
            await asyncio.sleep(0.1 * 2.0**attempt)

    async def await_pod(self, job: str, followed: Followed) -> None:
        """Wait until the Job's pod is up, has ended, or is gone.

        Raises OSError if the cluster refuses to make one, as it does at the end of a quota.
        """
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_NO_POD_SECONDS):
                    await followed.until(_is_settled)
                    return
            if followed.pod is None and (why := await self._refusal(job)):
                raise OSError(f"the cluster makes no pod: {why}")

    async def attach(self, followed: Followed) -> aiohttp.ClientWebSocketResponse:
        """Join the streams of a pod that is up. Raises OSError."""
        path = f"{self._pods}/{pod_name(followed)}/attach"
        asked = {"container": CONTAINER, "stdin": "true", "stdout": "true", "stderr": "true"}
        for attempt in range(_ATTACHES):
            try:
                return await self.api.attach(path, asked)
            except ApiError as error:
                # the kubelet may be a moment behind the status that it wrote
                ended = followed.is_gone or end(followed.pod or {}) is not None
                if error.status in (401, 403) or ended or attempt == _ATTACHES - 1:
                    raise
            await asyncio.sleep(0.05 * 2.0**attempt)
        raise AssertionError("the last attempt returns or raises")

    async def log(self, followed: Followed) -> str:
        """What the pod has printed. Raises OSError."""
        path = f"{self._pods}/{pod_name(followed)}/log"
        return await self.api.text(path, {"container": CONTAINER})

    async def remove(self, job: str, followed: Followed) -> None:
        """Delete Job and pod with no grace, and wait until the pod is gone.

        A cluster that does not come to an end of it is not waited for: removal goes on behind.
        """
        task = asyncio.create_task(self._remove(job, followed))
        done, _ = await asyncio.wait([task], timeout=_REMOVE_SECONDS)
        if not done:
            logger.warning("the cluster is slow to remove %s", job)
            self._keep(task)
        else:
            task.result()

    async def sweep(self) -> int:
        """Delete what processes of this machine left behind when they ended; how many Jobs."""
        selector = ",".join(f"{name}={value}" for name, value in OWNED.items())
        answer = await self.api.get(self._jobs, {"labelSelector": selector})
        orphans = [
            item["metadata"]["name"]
            for item in answer.get("items", [])
            if self.instance.is_orphan(item["metadata"].get("labels", {}).get(INSTANCE, ""))
        ]
        for name in orphans:
            await self.api.delete(f"{self._jobs}/{name}", _NOW)
        return len(orphans)

    async def close(self) -> None:
        """Stop watching; removals that hang are given a moment more."""
        if self._late:
            await asyncio.wait(self._late, timeout=_CLOSE_SECONDS)
        for task in list(self._late):
            task.cancel()
            await asyncio.wait([task])
        await self.watch.close()

    async def _remove(self, job: str, followed: Followed) -> None:
        pause = 0.2
        while True:
            try:
                await self.api.delete(f"{self._jobs}/{job}", _NOW)
                if await self._is_pod_removed(followed):
                    return
            except ApiError as error:
                logger.info("removing %s: %s", job, error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, 30.0)

    async def _is_pod_removed(self, followed: Followed) -> bool:
        if followed.pod is None or followed.is_gone:
            return True
        path = f"{self._pods}/{pod_name(followed)}"
        if not await self.api.delete(path, _NOW):
            return True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GONE_SECONDS):
                await followed.until(lambda seen: True if seen.is_gone else None)
        return followed.is_gone

    async def _refusal(self, job: str) -> str:
        query = {"fieldSelector": f"involvedObject.kind=Job,involvedObject.name={job}"}
        try:
            answer = await self.api.get(self._events, query)
        except ApiError:
            return ""
        found = [item for item in answer.get("items", []) if item.get("reason") == "FailedCreate"]
        return str(found[-1].get("message") or "FailedCreate") if found else ""

    def _remove_late(self, job: str, followed: Followed) -> None:
        self._keep(asyncio.create_task(self._remove(job, followed)))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._late.add(task)
        task.add_done_callback(self._late.discard)


def explained(error: ApiError) -> OSError | IsolationError:
    """The error to raise: with advice where an operator is needed, else as it is."""
    is_quota = error.status == 403 and "quota" in error.message
    hint = _REFUSED.get(error.status)
    if hint is None or is_quota:
        return error
    return IsolationError(f"The cluster refused a sandbox: {error.message}", hint)


def pod_name(followed: Followed) -> str:
    """The name of a pod that has been seen."""
    return str((followed.pod or {})["metadata"]["name"])


def _is_settled(followed: Followed) -> bool | None:
    pod = followed.pod
    is_settled = pod is not None and (is_up(pod) or end(pod) is not None)
    return True if is_settled or followed.is_gone else None
