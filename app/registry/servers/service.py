"""What developers do with servers: register, edit, submit, price, deprecate, and look at them."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

import orjson

from app.kernel import audit
from app.kernel.errors import AppError, Code
from app.kernel.ids import new_id
from app.kernel.principal import Principal, Scope
from app.kernel.uow import UnitOfWork
from app.registry import store as tool_store
from app.registry.config import MAX_TIMEOUT_S, RESERVED
from app.registry.findings import Scan, refuse_findings, scanned
from app.registry.pins import Pins
from app.registry.servers import store
from app.registry.servers.document import check_document, refuse
from app.registry.servers.remote import Reader
from app.registry.servers.states import Actor, require_move
from app.registry.servers.types import (
    Address,
    Notice,
    Offer,
    Server,
    Setup,
    Version,
    config_of,
)
from app.registry.types import Deprecation, ToolDefinition

SLUG = re.compile(r"[a-z][a-z0-9_-]{0,31}")
MAX_SERVERS = 100
MAX_DEFINITIONS_BYTES = 8 * 2**20
OWN_NAMES = frozenset(
    {"agent", "dead_letters", "files", "keys", "mcp", "oauth", "queues", "registry", "resources"}
    | {"schedules", "secrets", "tasks", "templates", "tools", "uaol", "usage", "webhooks"}
    | {"workflow", "workflows"}
)


class Servers:
    """Registered servers in the caller's transaction, which is the platform's.

    `principal` is who asks: a server of somebody else's is `not_found`, but for operators.
    """

    def __init__(
        self, pins: Pins, reader: Reader, scan: Scan, changed: Callable[[UnitOfWork], None]
    ) -> None:
        """`changed` is told of every change that calls must follow."""
        self._pins = pins
        self._reader = reader
        self._scan = scan
        self._changed = changed

    async def get(self, uow: UnitOfWork, principal: Principal, slug: str) -> Server:
        """One server of the principal's, any for an operator; else `not_found`."""
        found = await store.get(uow, slug) if SLUG.fullmatch(slug) else None
        is_seen = found is not None and (
            actor_of(principal) == "operator" or found.developer_id == principal.user_id
        )
        if found is None or not is_seen:
            raise unknown(slug)
        return found

    async def page(
        self,
        uow: UnitOfWork,
        principal: Principal,
        *,
        is_everyones: bool = False,
        status: str | None = None,
        limit: int = 50,
        before: UUID | None = None,
    ) -> Sequence[Server]:
        """The principal's servers, or for an operator everybody's, newest first, at most 200."""
        if is_everyones:
            principal.require(Scope.ADMIN)
        user_id = None if is_everyones else principal.owner
        return await store.list_of(uow, user_id, status, max(1, min(limit, 200)), before)

    async def create(
        self,
        uow: UnitOfWork,
        principal: Principal,
        slug: str,
        document: Mapping[str, Any],
        *,
        offer: Offer,
        setup: Setup,
    ) -> Server:
        """Register a server as a draft.

        Raises `invalid_input` or `unknown_field` with a pointer, `conflict` for a slug or name
        that another server has, and above 100 servers.
        """
        check_slug(slug)
        check_document(document)
        check_offer(offer)
        address = self._reader.read(document, setup)
        await tool_store.lock(uow)
        await self._require_free(uow, principal, slug, document["name"])
        await store.add(uow, new_id(), principal.owner, slug, document["name"], offer)
        server = await self.get(uow, principal, slug)
        await store.add_version(uow, server, 1, document, address)
        await _record(uow, "registered", server, {"version": document["version"]})
        return server

    async def _require_free(
        self, uow: UnitOfWork, principal: Principal, slug: str, name: str
    ) -> None:
        if await store.count(uow, principal.owner) >= MAX_SERVERS:
            raise AppError(
                Code.CONFLICT,
                f"There are {MAX_SERVERS} servers already, which is the most.",
                hint="Ask an operator.",
            )
        field = await store.clash(uow, slug, name)
        if field is not None:
            where = "/slug" if field == "slug" else "/server/name"
            refuse(where, "is taken, or looks like one that is", code=Code.CONFLICT)

    async def edit(
        self,
        uow: UnitOfWork,
        principal: Principal,
        slug: str,
        document: Mapping[str, Any],
        setup: Setup,
    ) -> Server:
        """Replace the draft, or begin a new version where there is none.

        Raises `conflict` while a version waits for a decision, and for a version that was
        submitted before: those never change.
        """
        check_document(document)
        address = self._reader.read(document, setup)
        await tool_store.lock(uow)
        server = await self.get(uow, principal, slug)
        if document["name"] != server.name:
            refuse("/server/name", f"is {server.name} and cannot change")
        newest = await newest_of(uow, server)
        if newest.status == "Pending":
            require_move("Pending", "Pending", actor_of(principal), what=_named(newest, slug))
        await self._require_new(uow, server, newest, document["version"])
        if newest.status == "Draft":
            await store.edit(uow, newest, document, address)
        else:
            await self._begin(uow, server, document, address)
        await _record(uow, "edited", server, {"version": document["version"]})
        return await self.get(uow, principal, slug)

    async def _require_new(
        self, uow: UnitOfWork, server: Server, newest: Version, version: str
    ) -> None:
        for known in await store.versions(uow, server.server_id):
            is_draft = known.number == newest.number and newest.status == "Draft"
            if known.version == version and not is_draft:
                why = f"{version} was submitted before and cannot change; give a new version"
                refuse("/server/version", why, code=Code.CONFLICT)

    async def _begin(
        self, uow: UnitOfWork, server: Server, document: Mapping[str, Any], address: Address
    ) -> None:
        number = server.latest_version + 1
        await store.add_version(uow, server, number, document, address)
        await store.set_state(uow, server, server.status, latest=number, reason=server.reason)

    async def draft(self, uow: UnitOfWork, principal: Principal, slug: str) -> Version:
        """The version that can be submitted now; `conflict` if there is none."""
        server = await self.get(uow, principal, slug)
        newest = await newest_of(uow, server)
        require_move(newest.status, "Pending", actor_of(principal), what=_named(newest, slug))
        return newest

    async def submit(
        self,
        uow: UnitOfWork,
        principal: Principal,
        slug: str,
        draft: Version,
        definitions: Sequence[ToolDefinition],
    ) -> Version:
        """Submit the draft together with what its server offers now.

        Raises `conflict` if it was edited since `draft` was read, or if the server has no tools.
        """
        if not definitions:
            raise AppError(
                Code.CONFLICT,
                f"The server {slug} offers no tool that can be used.",
                hint="List at least one tool with a valid name and input schema.",
            )
        _check_filled(draft.address, definitions)
        await tool_store.lock(uow)
        server = await self.get(uow, principal, slug)
        found = scanned(self._scan, definitions)
        offered = [definition.as_dict() for definition in definitions]
        _check_size(slug, offered)
        if not await store.submit(uow, draft, offered, found):
            raise AppError(
                Code.CONFLICT,
                f"The draft of {slug} was changed meanwhile.",
                hint="Look at it and submit it again.",
            )
        if server.status == "Draft":
            await store.set_state(uow, server, "Pending")
        await _record(uow, "submitted", server, {"version": draft.version})
        return await newest_of(uow, server)

    async def withdraw(self, uow: UnitOfWork, principal: Principal, slug: str) -> Version:
        """Take a version that waits back, to edit it."""
        await tool_store.lock(uow)
        server = await self.get(uow, principal, slug)
        newest = await newest_of(uow, server)
        require_move(newest.status, "Draft", actor_of(principal), what=_named(newest, slug))
        await store.decide(uow, newest, "Draft", None)
        if server.status == "Pending":
            await store.set_state(uow, server, "Draft")
        await _record(uow, "withdrawn", server, {"version": newest.version})
        return await newest_of(uow, server)

    async def set_offer(
        self, uow: UnitOfWork, principal: Principal, slug: str, offer: Offer
    ) -> list[tuple[str, int]]:
        """Change prices, time limits and rates; returns the tools' full names and prices.

        The caller publishes the prices, in the same transaction; quotes given before keep theirs.
        """
        check_offer(offer)
        await tool_store.lock(uow)
        server = await self.get(uow, principal, slug)
        await store.set_offer(uow, server.server_id, offer)
        await _record(uow, "offered", server, offer.as_dict())
        self._changed(uow)
        if server.approved_version is None:
            return []
        version = await version_of(uow, server, server.approved_version)
        return await self._pins.reprice(uow, config_of(slug, version.address, offer))

    async def deprecate(
        self, uow: UnitOfWork, principal: Principal, name: str, told: Deprecation | None
    ) -> Server:
        """Say that a server (by slug) or one tool (by full name) will go, or take that back.

        The message stands in descriptions, which models read, so it is scanned as they are.
        Raises `tool_definition_refused`, and `invalid_input` for a successor that is neither a
        slug nor a tool, or the thing itself.
        """
        slug, _, tool = name.partition(".")
        await tool_store.lock(uow)
        server = await self.get(uow, principal, slug)
        await _check_successor(uow, name, told)
        if told is not None:
            text = ToolDefinition(slug, tool or "message", told.message, {"type": "object"})
            refuse_findings(scanned(self._scan, [text]), f"The deprecation of {name}")
        if not tool:
            await store.deprecate(uow, server.server_id, told)
        elif not await store.deprecate_tool(uow, name, told):
            raise unknown(name)
        details = {} if told is None else {"message": told.message, "successor": told.successor}
        await audit.record(uow, "registry.deprecated", f"server:{name}", details)
        self._changed(uow)
        return await self.get(uow, principal, slug)

    async def versions(self, uow: UnitOfWork, principal: Principal, slug: str) -> Sequence[Version]:
        """The versions of a server, newest first."""
        server = await self.get(uow, principal, slug)
        return await store.versions(uow, server.server_id)

    async def notices(
        self, uow: UnitOfWork, principal: Principal, limit: int = 50, before: UUID | None = None
    ) -> Sequence[Notice]:
        """What the principal was told, newest first, at most 200."""
        return await store.notices(uow, principal.owner, max(1, min(limit, 200)), before)

    async def tell(self, uow: UnitOfWork, payload: Mapping[str, Any], kind: str) -> None:
        """Write a fact about a server down for its developer; the same event is told once."""
        server = await store.get(uow, payload["slug"])
        if server is None:
            return
        notice = {
            "notice_id": UUID(payload["event_id"]),
            "slug": payload["slug"],
            "kind": kind,
            "subject": payload["subject"],
            "details": payload["details"],
        }
        await store.add_notice(uow, server.developer_id, notice)


def actor_of(principal: Principal) -> Actor:
    """As whom a principal moves versions."""
    is_operator = principal.kind == "service" or Scope.ADMIN in principal.scopes
    return "operator" if is_operator else "developer"


def unknown(name: str) -> AppError:
    """The error for a server that is not there, or not the caller's."""
    return AppError(
        Code.NOT_FOUND,
        f"There is no server or tool named {name[:128]!r} that is yours.",
        hint="List your servers to see their names.",
    )


async def newest_of(uow: UnitOfWork, server: Server) -> Version:
    """The newest version of a server."""
    return (await store.versions(uow, server.server_id))[0]


async def version_of(uow: UnitOfWork, server: Server, number: int) -> Version:
    """A version that is there."""
    found = await store.version(uow, server.server_id, number)
    assert found is not None
    return found


def check_slug(slug: str) -> None:
    """Raise for a slug that is malformed or the platform's own."""
    if not SLUG.fullmatch(slug):
        refuse("/slug", "must be a lower-case letter, then at most 31 of a-z 0-9 _ -")
    if slug in RESERVED | OWN_NAMES:
        refuse("/slug", "is a name the platform keeps for itself", code=Code.CONFLICT)


def check_offer(offer: Offer) -> None:
    """Raise `invalid_input` for a time limit above an hour; the rest is checked by the doors."""
    limits = {"/offer/timeout_s": offer.timeout_s} | {
        f"/offer/tools/{name}/timeout_s": tool.timeout_s for name, tool in offer.tools.items()
    }
    for where, limit in limits.items():
        if limit is not None and not 0 < limit <= MAX_TIMEOUT_S:
            refuse(where, f"must be more than 0 and at most {MAX_TIMEOUT_S:g} seconds")


def _check_filled(address: Address, definitions: Sequence[ToolDefinition]) -> None:
    """Refuse arguments to be filled from secrets that no usable tool has."""
    known = {(each.name, argument) for each in definitions for argument in each.filled}
    for each in address.secret_arguments:
        if (each.tool, each.argument) not in known:
            refuse(
                f"/secret_arguments/{each.tool}/{each.argument}",
                "is no argument of a listed tool that can be filled with a secret: a string among"
                " its properties, of which nothing else in the schema speaks",
            )


def _check_size(slug: str, definitions: Sequence[Mapping[str, Any]]) -> None:
    size = len(orjson.dumps(definitions))
    if size > MAX_DEFINITIONS_BYTES:
        raise AppError(
            Code.PAYLOAD_TOO_LARGE,
            f"The tools of {slug} are described in {size} bytes, more than"
            f" {MAX_DEFINITIONS_BYTES}.",
            hint="Register fewer tools, or describe them more briefly.",
        )


async def _check_successor(uow: UnitOfWork, name: str, told: Deprecation | None) -> None:
    successor = told.successor if told is not None else None
    if successor is None:
        return
    if successor == name or not await store.is_known(uow, successor):
        refuse("/successor", "must be the slug of another server or a tool's full name")


def _named(version: Version, slug: str) -> str:
    return f"Version {version.version} of {slug}"


async def _record(uow: UnitOfWork, what: str, server: Server, details: Mapping[str, Any]) -> None:
    await audit.record(uow, f"registry.server_{what}", f"server:{server.slug}", details)
