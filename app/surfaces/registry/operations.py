"""What developers and operators do with servers, written once for every door."""

import re
from collections.abc import Mapping
from dataclasses import replace
from uuid import UUID

from app.kernel.errors import AppError, Code
from app.kernel.principal import Principal, Scope
from app.kernel.uow import UnitOfWork
from app.registry import Version, config_of
from app.surfaces.context import Access
from app.surfaces.registry.payloads import DeprecationIn, NewServerIn, OfferIn, ServerIn
from app.surfaces.registry.views import (
    DiffOut,
    HealthOut,
    NoticeOut,
    NoticePage,
    ServerOut,
    ServerPage,
    ServerSummary,
    VersionOut,
    VersionsOut,
)
from app.surfaces.services import Services

_HEADER_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,8000}[\x21-\x7e])?")


class Registering:
    """Servers of the principal; those of others are `not_found`, but for operators."""

    def __init__(self, services: Services, access: Access) -> None:
        self._services = services
        self._access = access
        self._registry = services.registry

    async def create(self, principal: Principal, given: NewServerIn) -> ServerOut:
        """Register a server as a draft."""
        principal.require(Scope.TOOLS)
        async with self._access.write(principal) as uow:
            await self._registry.servers.create(
                uow,
                principal,
                given.slug,
                given.server,
                offer=given.offer.read(),
                setup=given.setup(),
            )
            return await self._whole(uow, principal, given.slug)

    async def edit(self, principal: Principal, slug: str, given: ServerIn) -> ServerOut:
        """Replace the draft, or begin a new version."""
        principal.require(Scope.TOOLS)
        async with self._access.write(principal) as uow:
            await self._registry.servers.edit(uow, principal, slug, given.server, given.setup())
            return await self._whole(uow, principal, slug)

    async def show(self, principal: Principal, slug: str) -> ServerOut:
        """One server with its versions' state, its tools and its health."""
        principal.require(Scope.TOOLS)
        async with self._access.write(principal) as uow:
            return await self._whole(uow, principal, slug)

    async def page(
        self,
        principal: Principal,
        limit: int = 50,
        before: UUID | None = None,
        *,
        status: str | None = None,
        is_everyones: bool = False,
    ) -> ServerPage:
        """A page of the principal's servers, or of everybody's; `limit` is below 200."""
        principal.require(Scope.TOOLS)
        async with self._access.write(principal) as uow:
            found = await self._registry.servers.page(
                uow,
                principal,
                is_everyones=is_everyones,
                status=status,
                limit=limit + 1,
                before=before,
            )
        shown = [ServerSummary.of(server) for server in found[:limit]]
        return ServerPage(servers=shown, next=shown[-1].server_id if len(found) > limit else None)

    async def submit(
        self, principal: Principal, slug: str, headers: Mapping[str, str] | None = None
    ) -> VersionOut:
        """Look at the server as it is now, and submit the draft with what it offers.

        `headers` are values of secret headers for this one look; they are kept nowhere.
        """
        principal.require(Scope.TOOLS)
        async with self._access.write(principal) as uow:
            draft = await self._registry.servers.draft(uow, principal, slug)
            server = await self._registry.servers.get(uow, principal, slug)
        config = config_of(slug, draft.address, server.offer)
        given = _secret(draft, headers or {})
        filled = replace(config, headers={**config.headers, **given}, secrets=(), oauth=None)
        definitions = await self._services.proxy.inspect(filled)
        async with self._access.write(principal) as uow:
            submitted = await self._registry.servers.submit(
                uow, principal, slug, draft, definitions
            )
        return VersionOut.of(submitted)

    async def withdraw(self, principal: Principal, slug: str) -> VersionOut:
        """Take a version that waits back."""
        principal.require(Scope.TOOLS)
        async with self._access.write(principal) as uow:
            return VersionOut.of(await self._registry.servers.withdraw(uow, principal, slug))

    async def set_offer(self, principal: Principal, slug: str, given: OfferIn) -> ServerOut:
        """Change the terms; prices count for new quotes."""
        principal.require(Scope.TOOLS)
        async with self._access.write(principal) as uow:
            prices = await self._registry.servers.set_offer(uow, principal, slug, given.read())
            for name, price in prices:
                await self._services.billing.publish_price(uow, "tool", name, price)
            return await self._whole(uow, principal, slug)

    async def deprecate(self, principal: Principal, name: str, given: DeprecationIn) -> ServerOut:
        """Say that a server or tool will go, or take that back."""
        principal.require(Scope.TOOLS)
        async with self._access.write(principal) as uow:
            server = await self._registry.servers.deprecate(uow, principal, name, given.read())
            return await self._whole(uow, principal, server.slug)

    async def versions(self, principal: Principal, slug: str) -> VersionsOut:
        """The versions of a server."""
        principal.require(Scope.TOOLS)
        async with self._access.write(principal) as uow:
            found = await self._registry.servers.versions(uow, principal, slug)
        return VersionsOut(versions=[VersionOut.of(version) for version in found])

    async def diff(
        self, principal: Principal, slug: str, before: str | None, after: str | None
    ) -> DiffOut:
        """What differs between two versions, or a version and the running server."""
        principal.require(Scope.TOOLS)
        async with self._access.write(principal) as uow:
            return DiffOut.of(
                await self._registry.comparisons.of(uow, principal, slug, before, after)
            )

    async def notices(
        self, principal: Principal, limit: int = 50, before: UUID | None = None
    ) -> NoticePage:
        """What the principal was told about servers; `limit` is below 200."""
        principal.require(Scope.TOOLS)
        async with self._access.read(principal) as uow:
            found = await self._registry.servers.notices(uow, principal, limit + 1, before)
        shown = [NoticeOut.of(notice) for notice in found[:limit]]
        return NoticePage(notices=shown, next=shown[-1].notice_id if len(found) > limit else None)

    async def approve(self, principal: Principal, name: str) -> ServerOut | None:
        """Approve a server's version that waits, or by its full name one tool as it is now.

        Returns None for a tool of a configured server.
        """
        principal.require(Scope.ADMIN)
        async with self._access.write(principal) as uow:
            if "." in name:
                await self._registry.approve(uow, name)
            else:
                prices = await self._registry.decisions.approve(uow, principal, name)
                for tool, price in prices:
                    await self._services.billing.publish_price(uow, "tool", tool, price)
        return await self._decided(principal, name)

    async def disable(self, principal: Principal, name: str, reason: str) -> ServerOut | None:
        """Switch a server off, or by its full name one tool."""
        principal.require(Scope.ADMIN)
        async with self._access.write(principal) as uow:
            if "." in name:
                await self._registry.disable(uow, name)
            else:
                await self._registry.decisions.disable(uow, principal, name, reason)
        return await self._decided(principal, name)

    async def send_back(self, principal: Principal, slug: str, reason: str) -> ServerOut:
        """Return a version that waits to its developer."""
        principal.require(Scope.ADMIN)
        async with self._access.write(principal) as uow:
            await self._registry.decisions.send_back(uow, principal, slug, reason)
            return await self._whole(uow, principal, slug)

    async def _decided(self, principal: Principal, name: str) -> ServerOut | None:
        """The server after a decision, which this process follows at once."""
        async with self._access.write(principal) as uow:
            await self._registry.follow(uow)
        servers = self._registry.snapshot().servers()
        self._services.proxy.sync([server.config() for server in servers])
        slug = name.partition(".")[0]
        if self._registry.snapshot().server(slug) is None and "." in name:
            return None
        async with self._access.write(principal) as uow:
            return await self._whole(uow, principal, slug)

    async def _whole(self, uow: UnitOfWork, principal: Principal, slug: str) -> ServerOut:
        server = await self._registry.servers.get(uow, principal, slug)
        versions = await self._registry.servers.versions(uow, principal, slug)
        tools = await self._registry.states(uow, slug)
        return ServerOut.whole(server, versions, tools, self._health(slug))

    def _health(self, slug: str) -> HealthOut | None:
        proxy = self._services.proxy
        if self._registry.snapshot().server(slug) is None:
            return None
        for health in proxy.health():
            if health.name == slug:
                return HealthOut.of(health, proxy.breakers.state(slug))
        return None


def _secret(draft: Version, given: Mapping[str, str]) -> dict[str, str]:
    """The given headers, which must all be secret ones of the server."""
    known = {header.header.lower(): header.header for header in draft.address.needs}
    if draft.address.oauth is not None:
        known["authorization"] = "Authorization"
    hint = f"Its secret headers: {', '.join(known.values()) or 'none'}."
    for name, value in given.items():
        where = f"/headers/{name[:100]}"
        if name.lower() not in known:
            why, code = "is no secret header of this server", Code.UNKNOWN_FIELD
        elif not _HEADER_VALUE.fullmatch(value):
            why, code = "has a value that no header can carry", Code.INVALID_INPUT
        else:
            continue
        raise AppError(code, f"{where}: {why}.", hint=hint, details={"pointer": where})
    return {known[name.lower()]: value for name, value in given.items()}
