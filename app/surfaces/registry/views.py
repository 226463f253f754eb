"""What developers and operators see of servers."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from pydantic import Field

from app.proxy import ServerHealth
from app.registry import Comparison, Notice, Server, ServerStatus, ToolState, Version
from app.surfaces.views import View


class VersionOut(View):
    """One version; nothing of it changes once it was submitted but what was decided about it."""

    version: str
    number: int
    status: ServerStatus
    server: dict[str, Any] = Field(description="The server.json.")
    gateway_url: str
    transport: str
    tools: list[str] = Field(description="Names of the tools it offered when submitted.")
    findings: list[dict[str, Any]] = Field(description="What the scan found; it bars approval.")
    reason: str | None
    created_at: datetime
    submitted_at: datetime | None
    approved_at: datetime | None

    @classmethod
    def of(cls, version: Version) -> Self:
        """The view of a version."""
        return cls(
            version=version.version,
            number=version.number,
            status=version.status,
            server=dict(version.document),
            gateway_url=version.address.url,
            transport=version.address.transport,
            tools=[definition["name"] for definition in version.definitions],
            findings=[dict(finding) for finding in version.findings],
            reason=version.reason,
            created_at=version.created_at,
            submitted_at=version.submitted_at,
            approved_at=version.approved_at,
        )


class VersionsOut(View):
    """The versions of a server, newest first."""

    versions: list[VersionOut]


class DeprecationOut(View):
    """That it will go, and what to use instead."""

    message: str
    successor: str | None


class HealthOut(View):
    """The server as this process of the platform sees it."""

    is_up: bool
    tools: int
    error: str | None
    restarts: int
    circuit: str = Field(description="`closed`; `open` while it is left alone after faults.")

    @classmethod
    def of(cls, health: ServerHealth, circuit: str) -> Self:
        """The view of a backend's health."""
        return cls(
            is_up=health.is_up,
            tools=health.tools,
            error=health.error,
            restarts=health.restarts,
            circuit=circuit,
        )


class ToolStateOut(View):
    """Where a tool stands; one that has changed since its approval waits for the operator."""

    name: str
    status: str
    has_changed: bool
    price_micro: int


class ServerSummary(View):
    """A server and where it stands."""

    server_id: UUID
    slug: str
    name: str
    developer_id: UUID
    status: ServerStatus
    reason: str | None = Field(description="Why it was sent back or disabled.")
    offer: dict[str, Any]
    deprecated: DeprecationOut | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def fields_of(cls, server: Server) -> dict[str, Any]:
        """The field values of a server's view."""
        told = server.deprecated
        return {
            "server_id": server.server_id,
            "slug": server.slug,
            "name": server.name,
            "developer_id": server.developer_id,
            "status": server.status,
            "reason": server.reason,
            "offer": server.offer.as_dict(),
            "deprecated": None if told is None else DeprecationOut.model_validate(told),
            "created_at": server.created_at,
            "updated_at": server.updated_at,
        }

    @classmethod
    def of(cls, server: Server) -> Self:
        """The view of a server."""
        return cls(**cls.fields_of(server))


class ServerOut(ServerSummary):
    """A server with its newest and its approved version, its tools and its health."""

    newest: VersionOut
    approved: str | None = Field(description="The version that serves calls.")
    tools: list[ToolStateOut]
    health: HealthOut | None = Field(description="Null while nothing is connected to it.")

    @classmethod
    def whole(
        cls,
        server: Server,
        versions: Sequence[Version],
        tools: Sequence[ToolState],
        health: HealthOut | None,
    ) -> Self:
        """The view of a server with all that belongs to it."""
        by_number: Mapping[int, Version] = {version.number: version for version in versions}
        approved = by_number.get(server.approved_version or 0)
        return cls(
            **cls.fields_of(server),
            newest=VersionOut.of(versions[0]),
            approved=None if approved is None else approved.version,
            tools=[ToolStateOut.model_validate(tool) for tool in tools],
            health=health,
        )


class ServerPage(View):
    """Servers, newest first; pass `next` as `before` for the page after."""

    servers: list[ServerSummary]
    next: UUID | None


class ChangeOut(View):
    """One difference; `where` is a JSON pointer, the values are JSON text."""

    where: str
    before: str | None
    after: str | None


class ToolDifferenceOut(View):
    """What became of a tool: `added`, `removed` or `changed`."""

    tool: str
    kind: str
    changes: list[ChangeOut]


class DiffOut(View):
    """What differs between two versions of a server."""

    before: str
    after: str
    changes: list[ChangeOut] = Field(description="Of the server.json and the address.")
    tools: list[ToolDifferenceOut]
    text: str = Field(description="The whole of it for people.")

    @classmethod
    def of(cls, comparison: Comparison) -> Self:
        """The view of a comparison."""
        return cls.model_validate(comparison)


class NoticeOut(View):
    """Something the developer is told."""

    notice_id: UUID
    slug: str
    kind: str
    subject: str = Field(description="A server's slug or a tool's full name.")
    details: dict[str, Any]
    created_at: datetime

    @classmethod
    def of(cls, notice: Notice) -> Self:
        """The view of a notice."""
        return cls.model_validate(notice)


class NoticePage(View):
    """Notices, newest first; pass `next` as `before` for the page after."""

    notices: list[NoticeOut]
    next: UUID | None
