"""A vault with keys in files, over a real database with two users."""

from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest

from app.auth import Auth
from app.kernel.clock import SystemClock
from app.kernel.db import Database
from app.kernel.principal import SERVICE, Principal, Scope
from app.kernel.wakeups import Wakeups
from app.vault import LocalKeys, SecretKeeper, SecretRef, Vault


@dataclass
class Vaults:
    """The vault, and who uses it."""

    vault: Vault
    keeper: SecretKeeper
    keys: LocalKeys
    wakeups: Wakeups
    database: Database
    alice: Principal
    bob: Principal
    project: UUID

    def ref(self, name: str = "TOKEN", scope: str = "user") -> SecretRef:
        project = self.project if scope == "project" else None
        return SecretRef(self.alice.owner, scope, name, project)  # type: ignore[arg-type]

    async def set(self, value: str = "s3cret-value", name: str = "TOKEN") -> SecretRef:
        ref = self.ref(name)
        await self.keeper.set(self.alice, ref, value.encode(), ("https://api.example",))
        return ref


@pytest.fixture
async def vaults(database: Database, tmp_path: Path) -> Vaults:
    clock, wakeups = SystemClock(), Wakeups(None)
    keys = LocalKeys(tmp_path / "keys")
    vault = Vault(keys, clock, wakeups)
    auth = Auth(clock)
    async with database.begin(SERVICE) as uow:
        alice = (await auth.ensure_user(uow, "alice@example.org")).user_id
        bob = (await auth.ensure_user(uow, "bob@example.org")).user_id
        project = (await auth.ensure_project(uow, alice, "Globins")).project_id
    scopes = frozenset({Scope.KEYS})
    return Vaults(
        vault,
        SecretKeeper(vault, database),
        keys,
        wakeups,
        database,
        Principal("user", alice, project, scopes),
        Principal("user", bob, None, scopes),
        project,
    )
