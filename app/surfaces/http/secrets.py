"""Routes of secrets: set, listed without values, rotated, deleted."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from app.surfaces.http.dependencies import PREFIX, Caller, Ops
from app.surfaces.http.doubles import Unique
from app.surfaces.payloads import Text
from app.surfaces.secrets import Scoped, SecretChange, SecretIn, SecretOut, SecretsOut

router = APIRouter(prefix=PREFIX, tags=["secrets"])
Name = Annotated[
    Text, Path(max_length=64, description="A letter, then letters, digits, `_`, `-`, `.`.")
]
_Scope = Annotated[Scoped, Query(description="The scope it was set in.")]


@router.get("/secrets")
async def list_secrets(ops: Ops, caller: Caller) -> SecretsOut:
    """The caller's secrets: names and times, never values."""
    return await ops.secrets.list(caller)


@router.put("/secrets/{name}")
async def set_secret(
    ops: Ops, caller: Caller, name: Name, body: SecretIn, _unique: Unique
) -> SecretOut:
    """Set a secret for calls to the servers named; a value that was there is gone."""
    return await ops.secrets.set(caller, name, body)


@router.post("/secrets/{name}/rotate")
async def rotate_secret_value(
    ops: Ops, caller: Caller, name: Name, body: SecretChange, _unique: Unique
) -> SecretOut:
    """Give a secret that is there a new value; the servers it may be sent to stay."""
    return await ops.secrets.rotate(caller, name, body)


@router.delete("/secrets/{name}", status_code=204)
async def delete_secret(ops: Ops, caller: Caller, name: Name, scope: _Scope = "user") -> None:
    """Delete a secret; calls that need it are refused from now on."""
    await ops.secrets.delete(caller, name, scope)
