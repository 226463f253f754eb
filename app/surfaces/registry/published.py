"""The read-only registry API, v0.1, of approved servers (official registry, generic API).

Answered from memory. Whoever asks needs no key, as clients of registries send none; what a
server.json says is public by its nature, and secrets are never in it.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import ConfigDict, Field

from app.kernel.errors import AppError, Code
from app.registry import Published
from app.surfaces.services import Services
from app.surfaces.views import View

OFFICIAL = "io.modelcontextprotocol.registry/official"
OWN = "uaol/gateway"
LATEST = "latest"


class ServerResponse(View):
    """A server.json and what the registry knows of it."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    server: dict[str, Any]
    meta: dict[str, Any] = Field(alias="_meta")


class Metadata(View):
    """How many are shown, and the cursor of the page after."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    count: int
    next_cursor: str | None = Field(None, alias="nextCursor", exclude_if=lambda v: v is None)


class ServerList(View):
    """A page of servers."""

    servers: list[ServerResponse]
    metadata: Metadata


class Publication:
    """The approved servers, for everybody."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def page(
        self,
        *,
        cursor: str | None = None,
        limit: int = 30,
        search: str | None = None,
        updated_since: datetime | None = None,
        version: str | None = None,
    ) -> ServerList:
        """A page of versions by name, oldest first; `version` is an exact one or `latest`."""
        found = [
            one
            for one in self._services.registry.snapshot().published
            if _fits(one, search, updated_since, version)
        ]
        after = _read_cursor(cursor)
        rest = [one for one in found if after is None or (one.name, one.number) > after]
        shown = rest[:limit]
        more = f"{shown[-1].name}:{shown[-1].number}" if len(rest) > limit else None
        return self._list(shown, more)

    def versions(self, name: str) -> ServerList:
        """All versions of a server, newest first; `not_found` if it is not approved."""
        return self._list(self._of(name)[::-1], None)

    def version(self, name: str, version: str) -> ServerResponse:
        """One version, or the latest."""
        for one in self._of(name):
            if one.version == version or (version == LATEST and one.is_latest):
                return self._shown(one)
        raise AppError(
            Code.NOT_FOUND,
            f"{name[:200]} has no approved version {version[:100]!r}.",
            hint="List its versions.",
        )

    def _of(self, name: str) -> list[Published]:
        published = self._services.registry.snapshot().published
        found = [one for one in published if one.name == name]
        if not found:
            raise AppError(
                Code.NOT_FOUND,
                f"There is no approved server named {name[:200]!r}.",
                hint="GET /v0.1/servers lists them; a name in a path is URL-encoded.",
            )
        return found

    def _list(self, shown: Sequence[Published], cursor: str | None) -> ServerList:
        servers = [self._shown(one) for one in shown]
        return ServerList(
            servers=servers, metadata=Metadata(count=len(servers), next_cursor=cursor)
        )

    def _shown(self, one: Published) -> ServerResponse:
        told = one.deprecated
        official = {
            "status": "active" if told is None else "deprecated",
            "publishedAt": _time(one.published_at),
            "updatedAt": _time(one.updated_at),
            "isLatest": one.is_latest,
        }
        if told is not None:
            official["statusMessage"] = told.describe("").removeprefix("DEPRECATED: ")
        settings = self._services.settings
        base = (settings.public_url or f"http://{settings.host}:{settings.port}").rstrip("/")
        own = {"slug": one.slug, "url": f"{base}/mcp/servers/{one.slug}"}
        return ServerResponse(server=dict(one.document), meta={OFFICIAL: official, OWN: own})


def _fits(
    one: Published, search: str | None, updated_since: datetime | None, version: str | None
) -> bool:
    if search is not None and search.lower() not in one.name.lower():
        return False
    if updated_since is not None and one.updated_at < updated_since:
        return False
    if version == LATEST:
        return one.is_latest
    return version is None or one.version == version


def _read_cursor(cursor: str | None) -> tuple[str, int] | None:
    if cursor is None:
        return None
    name, colon, number = cursor.rpartition(":")
    if not colon or not number.isascii() or not number.isdigit() or len(number) > 9:
        raise AppError(
            Code.INVALID_INPUT,
            "/cursor: this is no cursor.",
            hint="Pass `metadata.nextCursor` of the page before as it is.",
            details={"pointer": "/cursor"},
        )
    return name, int(number)


def _time(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
