"""`registry.*`: servers, for their developers and for operators."""

from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from app.kernel.principal import Scope
from app.registry import ServerStatus
from app.surfaces.mcp.calls import Call
from app.surfaces.mcp.owntools import OwnTool
from app.surfaces.operations import Operations
from app.surfaces.payloads import Payload
from app.surfaces.registry.payloads import (
    DeprecationIn,
    FullName,
    NewServerIn,
    OfferIn,
    ReasonIn,
    ServerIn,
    Slug,
    VersionName,
)
from app.surfaces.registry.views import (
    DiffOut,
    NoticePage,
    ServerOut,
    ServerPage,
    VersionOut,
)
from app.surfaces.views import View

_TOOLS, _ADMIN = Scope.TOOLS, Scope.ADMIN


class Listed(Payload):
    """Which servers to show."""

    limit: Annotated[int, Field(ge=1, le=100)] = 50
    before: Annotated[UUID | None, Field(description="`next` of the page before.")] = None
    status: Annotated[ServerStatus | None, Field(description="Only those.")] = None
    everyones: Annotated[bool, Field(description="Of all developers (scope `admin`).")] = False


class OneServer(Payload):
    """A server's slug."""

    slug: Slug


class Edit(ServerIn):
    """A server's slug, and what its next version shall be."""

    slug: Slug


class NewOffer(OfferIn):
    """A server's slug and its new terms."""

    slug: Slug


class Deprecate(DeprecationIn):
    """What will go, and why."""

    name: Annotated[FullName, Field(description="A server's slug or a tool's full name.")]


class Compare(Payload):
    """Which versions to compare."""

    slug: Slug
    before: Annotated[VersionName | None, Field(description="Else the approved one.")] = None
    after: Annotated[
        VersionName | None, Field(description="`live` is the running server; else the newest.")
    ] = None


class Paged(Payload):
    """A page of notices."""

    limit: Annotated[int, Field(ge=1, le=100)] = 50
    before: Annotated[UUID | None, Field(description="`next` of the page before.")] = None


class Named(Payload):
    """A server or tool."""

    name: Annotated[FullName, Field(description="A server's slug or a tool's full name.")]


class Disable(ReasonIn):
    """A server or tool, and why it is switched off."""

    name: Annotated[FullName, Field(description="A server's slug or a tool's full name.")]


class Decided(View):
    """What was decided about, as it stands now; null for a tool of a configured server."""

    name: str
    server: ServerOut | None


class RegistryTools:
    """The handlers, over the operations both doors share."""

    def __init__(self, operations: Operations) -> None:
        self._registry = operations.registry

    def tools(self) -> list[OwnTool[Any]]:
        """The tools of this family."""
        return [
            OwnTool(
                "registry.register_server",
                _REGISTER,
                NewServerIn,
                ServerOut,
                _TOOLS,
                self.register,
                False,
            ),
            OwnTool("registry.edit_server", _EDIT, Edit, ServerOut, _TOOLS, self.edit, False),
            OwnTool("registry.submit", _SUBMIT, OneServer, VersionOut, _TOOLS, self.submit, False),
            OwnTool("registry.list_servers", _LIST, Listed, ServerPage, _TOOLS, self.list),
            OwnTool("registry.show_server", _SHOW, OneServer, ServerOut, _TOOLS, self.show),
            OwnTool("registry.diff", _DIFF, Compare, DiffOut, _TOOLS, self.diff),
            OwnTool("registry.set_offer", _OFFER, NewOffer, ServerOut, _TOOLS, self.offer, False),
            OwnTool(
                "registry.deprecate",
                _DEPRECATE,
                Deprecate,
                ServerOut,
                _TOOLS,
                self.deprecate,
                False,
            ),
            OwnTool("registry.notices", _NOTICES, Paged, NoticePage, _TOOLS, self.notices),
            OwnTool("registry.approve", _APPROVE, Named, Decided, _ADMIN, self.approve, False),
            OwnTool("registry.disable", _DISABLE, Disable, Decided, _ADMIN, self.disable, False),
        ]

    async def register(self, call: Call, given: NewServerIn) -> ServerOut:
        """Register a server."""
        return await self._registry.create(call.principal, given)

    async def edit(self, call: Call, given: Edit) -> ServerOut:
        """Replace the draft or begin a version."""
        return await self._registry.edit(call.principal, given.slug, given)

    async def submit(self, call: Call, given: OneServer) -> VersionOut:
        """Submit the draft. Secrets are no arguments of tools: a model would read them."""
        return await self._registry.submit(call.principal, given.slug)

    async def list(self, call: Call, given: Listed) -> ServerPage:
        """A page of servers."""
        return await self._registry.page(
            call.principal,
            given.limit,
            given.before,
            status=given.status,
            is_everyones=given.everyones,
        )

    async def show(self, call: Call, given: OneServer) -> ServerOut:
        """One server."""
        return await self._registry.show(call.principal, given.slug)

    async def diff(self, call: Call, given: Compare) -> DiffOut:
        """Two versions side by side."""
        return await self._registry.diff(call.principal, given.slug, given.before, given.after)

    async def offer(self, call: Call, given: NewOffer) -> ServerOut:
        """New terms."""
        return await self._registry.set_offer(call.principal, given.slug, given)

    async def deprecate(self, call: Call, given: Deprecate) -> ServerOut:
        """Say that something will go."""
        return await self._registry.deprecate(call.principal, given.name, given)

    async def notices(self, call: Call, given: Paged) -> NoticePage:
        """What the caller was told."""
        return await self._registry.notices(call.principal, given.limit, given.before)

    async def approve(self, call: Call, given: Named) -> Decided:
        """Approve a version or tool."""
        server = await self._registry.approve(call.principal, given.name)
        return Decided(name=given.name, server=server)

    async def disable(self, call: Call, given: Disable) -> Decided:
        """Switch a server or tool off."""
        server = await self._registry.disable(call.principal, given.name, given.reason)
        return Decided(name=given.name, server=server)


_REGISTER = (
    "Register an MCP server by its server.json, with a slug that begins its tools' names and a"
    " price of calls. It is a draft until registry.submit."
)
_EDIT = "Replace a server's draft; where there is none, begin a new version of it."
_SUBMIT = (
    "List a server's tools and submit its draft with them for approval; the version cannot change"
    " any more. A server that wants a secret for its list is submitted over HTTP."
)
_LIST = "The caller's servers and where they stand, newest first."
_SHOW = "One server: its newest version, its tools, its health."
_DIFF = (
    "What differs between two versions of a server, tool by tool; or between the approved version"
    " and what the running server offers now."
)
_OFFER = "Replace a server's prices, time limits and rates; they count for new quotes."
_DEPRECATE = "Say that a server or tool will go and what to use instead; no message takes it back."
_NOTICES = "What the caller was told about their servers: approved, sent back, tools quarantined."
_APPROVE = (
    "Approve the version of a server that waits, pinning its tools' definitions; or one tool, by"
    " its full name, as its server describes it now."
)
_DISABLE = "Switch a server, or one tool by its full name, off until it is approved again."
