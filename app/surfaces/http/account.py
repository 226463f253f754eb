"""Routes of the caller's own account: who, wallet, keys."""

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from fastapi import APIRouter
from pydantic import BeforeValidator, Field

from app.auth import ApiKey, IssuedKey
from app.kernel.principal import Scope
from app.surfaces.http.dependencies import PREFIX, Caller, Ops
from app.surfaces.payloads import Payload
from app.surfaces.views import Me, View, WalletOut

router = APIRouter(prefix=PREFIX, tags=["account"])


class KeyIn(Payload):
    """A new key: what it is called and what it may do (at most what yours may)."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    scopes: Annotated[frozenset[Scope], Field(min_length=1)]
    expires_at: datetime | None = None


class KeyOut(View):
    """A key without its secret."""

    key_id: UUID
    name: str
    prefix: str
    scopes: Annotated[list[str], BeforeValidator(sorted)]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None

    @classmethod
    def of(cls, key: ApiKey) -> Self:
        """The view of a key."""
        return cls.model_validate(key)


class NewKeyOut(View):
    """A new key; its secret is shown this once."""

    secret: str
    key: KeyOut


class KeysOut(View):
    """The caller's keys, newest first."""

    keys: list[KeyOut]


@router.get("/me")
async def show_caller(caller: Caller) -> Me:
    """Who the key belongs to and what it may do."""
    return Me.of(caller)


@router.get("/wallet")
async def show_wallet(ops: Ops, caller: Caller) -> WalletOut:
    """The caller's credits."""
    return WalletOut.of(await ops.wallet(caller))


@router.get("/keys")
async def list_keys(ops: Ops, caller: Caller) -> KeysOut:
    """The caller's keys, revoked ones too."""
    caller.require(Scope.KEYS)
    async with ops.access.read(caller) as uow:
        keys = await ops.services.auth.list_keys(uow, caller.owner)
    return KeysOut(keys=[KeyOut.of(key) for key in keys])


@router.post("/keys", status_code=201)
async def issue_key(ops: Ops, caller: Caller, body: KeyIn) -> NewKeyOut:
    """Issue a key."""
    caller.require(Scope.KEYS)
    async with ops.access.write(caller) as uow:
        issued: IssuedKey = await ops.services.auth.issue_key(
            uow,
            caller.owner,
            name=body.name,
            scopes=frozenset(scope.value for scope in body.scopes),
            project_id=caller.project_id,
            expires_at=body.expires_at,
        )
    return NewKeyOut(secret=issued.secret, key=KeyOut.of(issued.key))


@router.delete("/keys/{key_id}", status_code=204)
async def revoke_key(ops: Ops, caller: Caller, key_id: UUID) -> None:
    """Make a key useless; repeating it changes nothing."""
    caller.require(Scope.KEYS)
    async with ops.access.write(caller) as uow:
        await ops.services.auth.revoke_key(uow, caller.owner, key_id)
