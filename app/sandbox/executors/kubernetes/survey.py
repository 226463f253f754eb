"""A first pod, which proves the walls and tells what the image holds."""

import asyncio
import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from packaging.utils import canonicalize_name

from app.sandbox.executors.kubernetes.fate import check_gate, delay, end, image_id
from app.sandbox.executors.kubernetes.jobs import Builder
from app.sandbox.executors.kubernetes.namespace import Namespace
from app.sandbox.executors.kubernetes.watch import Followed
from app.sandbox.types import IsolationError
from sandbox.image import tools_key

# an image may have to be fetched first
_SECONDS = 300.0
_BUILD = "Build the image anew from sandbox/Dockerfile, and name it in UAOL_SANDBOX_K8S_IMAGE."


@dataclass(frozen=True)
class Found:
    """The image, by its digest where the node tells, and the Python in it."""

    image: str
    python: str
    interpreter: str
    prefix: str
    sites: tuple[str, ...]
    distributions: Mapping[str, str] = field(repr=False)


async def survey(namespace: Namespace, builder: Builder) -> Found:
    """Start a pod with every wall of a sandbox's and read what it says.

    Raises IsolationError: the walls do not stand, or the pod does not start.
    """
    name, followed = await namespace.create(builder.survey)
    try:
        await _await_end(namespace, name, followed)
        log = await namespace.log(followed)
    except OSError as error:
        hint = "Look at the namespace's events: `kubectl get events`."
        raise IsolationError(f"A first sandbox did not start: {error}.", hint) from error
    finally:
        await namespace.remove(name, followed)
        namespace.watch.forget(name)
    return read(log, image_id(followed.pod or {}))


def read(log: str, image: str) -> Found:
    """The facts in the image's own words, the last line of the log.

    Raises IsolationError if the image is none of ours, or was built for another version of us.
    """
    try:
        told = json.loads(log.strip().rpartition("\n")[2])
        tools = str(told["tools"])
        names = dict(told["distributions"])
        found = Found(
            image, str(told["python"]), str(told["interpreter"]), str(told["prefix"]),
            tuple(told["sites"]),
            {canonicalize_name(name): str(version) for name, version in names.items()},
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise IsolationError("The image for Kubernetes is not a sandbox image.", _BUILD) from error
    if tools != tools_key():
        reason = "The image for Kubernetes was built for another version of this server."
        raise IsolationError(reason, _BUILD)
    return found


async def _await_end(namespace: Namespace, name: str, followed: Followed) -> None:
    try:
        async with asyncio.timeout(_SECONDS):
            await namespace.await_pod(name, followed)
            await followed.until(_is_over)
    except TimeoutError as error:
        raise OSError(delay(followed.pod) or "no pod came up in time") from error
    check_gate(followed.pod)
    ended = end(followed.pod or {})
    if ended is None:
        raise OSError("its pod was removed")
    if ended.code != 0:
        with contextlib.suppress(OSError):
            raise OSError(f"{ended.text()} {await namespace.log(followed)}".strip()[-600:])
        raise OSError(ended.text())


def _is_over(followed: Followed) -> bool | None:
    return True if followed.is_gone or end(followed.pod or {}) is not None else None
