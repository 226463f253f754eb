"""Routes of registered servers: for their developers, and for operators who decide."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query

from app.registry import ServerStatus
from app.surfaces.http.dependencies import PREFIX, Caller, Ops
from app.surfaces.payloads import Text
from app.surfaces.registry.payloads import (
    DeprecationIn,
    NewServerIn,
    OfferIn,
    ReasonIn,
    ServerIn,
    SubmitIn,
)
from app.surfaces.registry.views import (
    DiffOut,
    NoticePage,
    ServerOut,
    ServerPage,
    VersionOut,
    VersionsOut,
)

router = APIRouter(prefix=f"{PREFIX}/registry", tags=["registry"])
_Slug = Annotated[Text, Path(max_length=64)]
_Name = Annotated[Text, Path(max_length=200, description="A slug, or a tool's full name.")]
_Limit = Annotated[int, Query(ge=1, le=100)]
_Before = Annotated[UUID | None, Query(description="`next` of the page before.")]
_Version = Annotated[
    Text | None, Query(max_length=255, description="A version, or `live` for the running server.")
]


@router.post("/servers", status_code=201)
async def register_server(ops: Ops, caller: Caller, body: NewServerIn) -> ServerOut:
    """Register a server by its server.json, as a draft."""
    return await ops.registry.create(caller, body)


@router.get("/servers")
async def list_servers(
    ops: Ops,
    caller: Caller,
    limit: _Limit = 50,
    before: _Before = None,
    status: Annotated[ServerStatus | None, Query(description="Only those.")] = None,
    everyones: Annotated[bool, Query(description="Of all developers (scope `admin`).")] = False,
) -> ServerPage:
    """The caller's servers, newest first."""
    return await ops.registry.page(caller, limit, before, status=status, is_everyones=everyones)


@router.get("/servers/{slug}")
async def show_server(ops: Ops, caller: Caller, slug: _Slug) -> ServerOut:
    """One server: its versions' state, its tools, its health."""
    return await ops.registry.show(caller, slug)


@router.put("/servers/{slug}")
async def edit_server(ops: Ops, caller: Caller, slug: _Slug, body: ServerIn) -> ServerOut:
    """Replace the draft; where there is none, begin a new version."""
    return await ops.registry.edit(caller, slug, body)


@router.post("/servers/{slug}/submit")
async def submit_server(ops: Ops, caller: Caller, slug: _Slug, body: SubmitIn) -> VersionOut:
    """List the server's tools and submit the draft with them; it cannot change any more."""
    headers = {name: value.get_secret_value() for name, value in body.headers.items()}
    return await ops.registry.submit(caller, slug, headers)


@router.post("/servers/{slug}/withdraw")
async def withdraw_server(ops: Ops, caller: Caller, slug: _Slug) -> VersionOut:
    """Take a version that waits for approval back, to edit it."""
    return await ops.registry.withdraw(caller, slug)


@router.post("/servers/{name}/approve")
async def approve_server(ops: Ops, caller: Caller, name: _Name) -> ServerOut | None:
    """Approve the version that waits, or one tool as its server describes it now (`admin`)."""
    return await ops.registry.approve(caller, name)


@router.post("/servers/{slug}/send-back")
async def send_server_back(ops: Ops, caller: Caller, slug: _Slug, body: ReasonIn) -> ServerOut:
    """Return the version that waits to its developer (scope `admin`)."""
    return await ops.registry.send_back(caller, slug, body.reason)


@router.post("/servers/{name}/disable")
async def disable_server(ops: Ops, caller: Caller, name: _Name, body: ReasonIn) -> ServerOut | None:
    """Switch a server or one tool off until it is approved again (scope `admin`)."""
    return await ops.registry.disable(caller, name, body.reason)


@router.put("/servers/{slug}/offer")
async def set_offer(ops: Ops, caller: Caller, slug: _Slug, body: OfferIn) -> ServerOut:
    """Replace prices, time limits and rates; new quotes follow, those given before stay."""
    return await ops.registry.set_offer(caller, slug, body)


@router.put("/servers/{name}/deprecation")
async def deprecate_server(ops: Ops, caller: Caller, name: _Name, body: DeprecationIn) -> ServerOut:
    """Say that a server or tool will go; descriptions show it. No message takes it back."""
    return await ops.registry.deprecate(caller, name, body)


@router.get("/servers/{slug}/versions")
async def list_server_versions(ops: Ops, caller: Caller, slug: _Slug) -> VersionsOut:
    """The versions of a server, newest first."""
    return await ops.registry.versions(caller, slug)


@router.get("/servers/{slug}/diff")
async def diff_server(
    ops: Ops, caller: Caller, slug: _Slug, before: _Version = None, after: _Version = None
) -> DiffOut:
    """What differs; without versions, the approved one and the newest or running one."""
    return await ops.registry.diff(caller, slug, before, after)


@router.get("/notices")
async def list_notices(
    ops: Ops, caller: Caller, limit: _Limit = 50, before: _Before = None
) -> NoticePage:
    """What the caller was told about their servers, newest first."""
    return await ops.registry.notices(caller, limit, before)
