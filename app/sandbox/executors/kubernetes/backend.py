"""The kubernetes backend: looks the cluster over once, then makes a Job for each sandbox."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from app.sandbox.executors.kubernetes import checks
from app.sandbox.executors.kubernetes.access import Access, load_access
from app.sandbox.executors.kubernetes.api import Api, ApiError
from app.sandbox.executors.kubernetes.jobs import TOOLS, Builder, check_room
from app.sandbox.executors.kubernetes.link import PodLink
from app.sandbox.executors.kubernetes.namespace import Namespace
from app.sandbox.executors.kubernetes.site import Site, this_instance
from app.sandbox.executors.kubernetes.survey import Found, survey
from app.sandbox.links import Link, Room
from app.sandbox.types import Capabilities, IsolationError

logger = logging.getLogger(__name__)

_WALLS = (
    "pod", "network policy", "seccomp", "cgroup", "rlimits", "no-new-privileges",
    "no capabilities", "read-only root",
)  # fmt: skip


@dataclass(frozen=True)
class _Ground:
    """A cluster that was looked over, and what was found."""

    api: Api
    namespace: Namespace
    builder: Builder
    capabilities: Capabilities
    head: dict[str, object]

    async def close(self) -> None:
        await self.namespace.close()
        await self.api.close()


class KubernetesBackend:
    """Sandboxes as pods of Jobs in one namespace."""

    name = "kubernetes"

    def __init__(self, site: Site, load: Callable[[str | None], Access] = load_access) -> None:
        """Asks nothing of the cluster yet; `load` finds it."""
        self._site, self._load = site, load
        self._ground: _Ground | None = None
        self._lock = asyncio.Lock()

    async def capabilities(self) -> Capabilities:
        """See Backend.capabilities."""
        return (await self._prepare()).capabilities

    async def head(self) -> dict[str, object]:
        """See Backend.head."""
        return dict((await self._prepare()).head)

    async def launch(self, room: Room) -> Link:
        """See Backend.launch."""
        check_room(room, self._site)
        ground = await self._prepare()
        builder = ground.builder
        name, followed = await ground.namespace.create(lambda name: builder.sandbox(name, room))
        return PodLink(ground.namespace, name, followed)

    async def close(self) -> None:
        """See Backend.close."""
        ground, self._ground = self._ground, None
        if ground is not None:
            await ground.close()

    async def _prepare(self) -> _Ground:
        async with self._lock:
            if self._ground is None:
                self._site.check()
                access = await asyncio.to_thread(self._load, self._site.context)
                self._ground = await self._look_over(Api(access))
            return self._ground

    async def _look_over(self, api: Api) -> _Ground:
        namespace = Namespace(api, self._site.namespace, this_instance())
        try:
            return await self._examine(api, namespace)
        except BaseException as error:
            await namespace.close()
            await api.close()
            if isinstance(error, ApiError):
                hint = "Check the kubeconfig, the account's rights, and sandbox/kubernetes."
                raise IsolationError(f"The cluster cannot be examined: {error}.", hint) from error
            raise

    async def _examine(self, api: Api, namespace: Namespace) -> _Ground:
        version = await checks.version(api)
        await checks.check_rights(api, namespace.name)
        await checks.check_objects(api, namespace.name, namespace.instance.labels)
        level = await checks.level(api, self._site.runtime_class)
        if swept := await namespace.sweep():
            logger.info("removed %d sandboxes of processes that ended", swept)
        is_own = self._has_user_namespaces(version)
        builder = Builder(
            self._site,
            namespace.instance.labels,
            has_user_namespace=is_own,
            has_kernel=level in ("gvisor", "microvm"),
        )
        found = await survey(namespace, builder)
        return _Ground(
            api, namespace, builder.with_interpreter(found.interpreter),
            capabilities=self._capabilities(found, level, has_user_namespace=is_own),
            head={"sites": list(found.sites), "prefix": found.prefix, "tools": TOOLS},
        )  # fmt: skip

    def _has_user_namespaces(self, version: tuple[int, int]) -> bool:
        if self._site.user_namespaces == "auto":
            # other runtimes bring their own walls, and many do not know these
            return version >= checks.USER_NAMESPACES and self._site.runtime_class is None
        return self._site.user_namespaces == "on"

    def _capabilities(self, found: Found, level: str, *, has_user_namespace: bool) -> Capabilities:
        runtime = self._site.runtime_class
        return Capabilities(
            executor=self.name,
            isolation=(
                *_WALLS,
                *(["user namespace"] if has_user_namespace else []),
                *([f"runtime class {runtime}"] if runtime else []),
            ),
            best_effort=("inodes", "total cpu time"),
            python=found.python,
            distributions=found.distributions,
            level=level,
            image=found.image,
        )
