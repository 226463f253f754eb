"""Routes of the read-only registry API, v0.1: approved servers, for everybody."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query

from app.surfaces.http.dependencies import Ops
from app.surfaces.payloads import Text
from app.surfaces.registry.published import Publication, ServerList, ServerResponse

router = APIRouter(prefix="/v0.1", tags=["registry"])
# A decoded name has a slash in it.
_Name = Annotated[Text, Path(max_length=200, description="The server's name, URL-encoded.")]
_Version = Annotated[Text, Path(max_length=255, description="An exact version, or `latest`.")]


@router.get("/servers")
async def list_published(
    ops: Ops,
    cursor: Annotated[Text | None, Query(max_length=300)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 30,
    search: Annotated[Text | None, Query(max_length=200, description="Part of the name.")] = None,
    updated_since: Annotated[datetime | None, Query(description="RFC 3339.")] = None,
    version: Annotated[
        Text | None, Query(max_length=255, description="`latest` or an exact version.")
    ] = None,
) -> ServerList:
    """The approved servers by name."""
    if updated_since is not None and updated_since.tzinfo is None:
        updated_since = updated_since.replace(tzinfo=UTC)
    return Publication(ops.services).page(
        cursor=cursor, limit=limit, search=search, updated_since=updated_since, version=version
    )


@router.get("/servers/{name:path}/versions")
async def list_published_versions(ops: Ops, name: _Name) -> ServerList:
    """All approved versions of a server, newest first."""
    return Publication(ops.services).versions(name)


@router.get("/servers/{name:path}/versions/{version}")
async def show_published(ops: Ops, name: _Name, version: _Version) -> ServerResponse:
    """One approved version of a server."""
    return Publication(ops.services).version(name, version)
