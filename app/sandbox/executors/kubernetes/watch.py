"""One watch over this process's pods, for all of its sandboxes.

A watch may end at any time, be dropped midway, or be told that its place in history is gone
(410). Then it goes on where it was, or lists anew; a pod that is missing from the new list has
gone meanwhile. Nobody who waits for a pod notices more than a delay.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from app.sandbox.executors.kubernetes.api import Api, ApiError

logger = logging.getLogger(__name__)

JOB_LABELS = ("batch.kubernetes.io/job-name", "job-name")
_GONE = 410
_PAUSE, _LONGEST_PAUSE = 0.05, 5.0

T = TypeVar("T")
Pod = dict[str, Any]


class Followed:
    """The pod of one Job, as last seen; it is gone once it was there and is no more."""

    def __init__(self) -> None:
        self.pod: Pod | None = None
        self.is_gone = False
        self._changed = asyncio.Event()

    async def until(self, answer: Callable[["Followed"], T | None]) -> T:
        """Wait for the first answer that is not None; asked now and at every change."""
        while (found := answer(self)) is None:
            self._changed.clear()
            await self._changed.wait()
        return found

    def see(self, pod: Pod) -> None:
        """The pod was made or has changed."""
        self.pod = pod
        self._changed.set()

    def lose(self) -> None:
        """The pod is no more; what was last seen of it is kept."""
        self.is_gone = True
        self._changed.set()


class PodWatch:
    """Follows every pod that a selector matches, in one namespace."""

    def __init__(self, api: Api, namespace: str, selector: str) -> None:
        """Starts with `start`."""
        self._api = api
        self._path = f"/api/v1/namespaces/{namespace}/pods"
        self._query = {"labelSelector": selector}
        self._followed: dict[str, Followed] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to watch, unless that has begun."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="sandbox-pods")

    async def close(self) -> None:
        """Stop watching."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._task = None

    def follow(self, job: str) -> Followed:
        """The pod of the Job, from now on; to be called before the Job is made."""
        return self._followed.setdefault(job, Followed())

    def forget(self, job: str) -> None:
        """Nobody waits for this pod any more."""
        self._followed.pop(job, None)

    async def _run(self) -> None:
        version: str | None = None
        pause = _PAUSE
        while True:
            try:
                if version is None:
                    version = await self._list()
                version = await self._watch(version)
                pause = _PAUSE
            except ApiError as error:
                if error.status == _GONE:
                    version = None
                else:
                    logger.warning("the watch over sandboxes' pods broke: %s", error.reason)
                    pause = min(2 * pause, _LONGEST_PAUSE)
            await asyncio.sleep(pause)

    async def _list(self) -> str:
        answer = await self._api.get(self._path, self._query)
        pods = {_job(pod): pod for pod in answer.get("items", [])}
        for job, followed in self._followed.items():
            if job in pods:
                followed.see(pods[job])
            elif followed.pod is not None:
                followed.lose()
        return _version(answer)

    async def _watch(self, version: str) -> str:
        """Follow events from `version` to the watch's end, wanted or not; the version reached."""
        query = {**self._query, "resourceVersion": version, "allowWatchBookmarks": "true"}
        try:
            async for event in self._api.watch(self._path, query):
                version = self._take(event) or version
        except ApiError as error:
            if error.status:
                raise
            logger.info("the watch over sandboxes' pods was dropped: %s", error.reason)
        return version

    def _take(self, event: Mapping[str, Any]) -> str | None:
        kind, thing = event.get("type"), event.get("object") or {}
        if kind == "ERROR":
            raise ApiError(int(thing.get("code") or 0) or _GONE, str(thing.get("reason")), "watch")
        followed = self._followed.get(_job(thing))
        if followed is not None and kind in ("ADDED", "MODIFIED"):
            followed.see(thing)
        elif followed is not None and kind == "DELETED":
            followed.see(thing)
            followed.lose()
        return _version(thing) or None


def _job(pod: Mapping[str, Any]) -> str:
    labels = (pod.get("metadata") or {}).get("labels") or {}
    return next((str(labels[name]) for name in JOB_LABELS if name in labels), "")


def _version(thing: Mapping[str, Any]) -> str:
    return str((thing.get("metadata") or {}).get("resourceVersion") or "")
