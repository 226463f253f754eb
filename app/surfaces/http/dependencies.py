"""What routes ask for: the operations and the caller."""

from typing import Annotated

from fastapi import Depends, Header, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.kernel.principal import Principal
from app.surfaces.operations import Operations
from app.surfaces.payloads import IdempotencyKey

# In each router and not where they are included: a route's own path labels its metrics.
PREFIX = "/v1"
_bearer = HTTPBearer(auto_error=False, description="An API key, `uaol_...`.")


# Not a plain function: FastAPI would run one in a thread, for every request.
async def _operations(request: Request) -> Operations:
    operations = request.app.state.operations
    assert isinstance(operations, Operations)
    return operations


Ops = Annotated[Operations, Depends(_operations)]


async def _caller(
    request: Request,
    _documented: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Principal:
    ops = await _operations(request)
    return await ops.access.authenticate(request.headers.get("authorization"))


Caller = Annotated[Principal, Depends(_caller)]
Idempotency = Annotated[
    IdempotencyKey | None,
    Header(alias="Idempotency-Key", description="Makes a repeated request safe."),
]


def base_url(request: Request) -> str:
    """The server's address as this client reached it."""
    return str(request.base_url)
