"""Secrets from their setting to their end; a row that was moved opens nothing."""

import asyncio
from typing import Any

import psycopg
import pytest

from app.kernel.embedded import Hub
from app.kernel.errors import AppError, Code
from app.kernel.principal import SERVICE
from app.vault import SecretRef, changes_of, check_name, check_value
from app.vault.keys import Wrapped
from app.vault.service import MAX_SECRETS
from tests.vault.conftest import Vaults

pytestmark = pytest.mark.anyio


async def rows(vaults: Vaults, sql: str) -> list[Any]:
    async with vaults.database.begin(SERVICE) as uow:
        return list((await uow.execute(sql)).mappings())


async def change(vaults: Vaults, sql: str, **values: Any) -> None:
    async with vaults.database.begin(SERVICE) as uow:
        assert (await uow.execute(sql, values)).rowcount > 0


async def opened(vaults: Vaults, ref: SecretRef) -> str:
    found = await vaults.keeper.get(vaults.alice, [ref])
    return found[ref].text


async def refused(vaults: Vaults, ref: SecretRef) -> Code:
    with pytest.raises(AppError) as caught:
        await vaults.keeper.get(vaults.alice, [ref])
    return caught.value.code


async def test_a_secret_from_its_setting_to_its_end(vaults: Vaults) -> None:
    ref = await vaults.set("the-first-value")
    assert await opened(vaults, ref) == "the-first-value"
    await vaults.keeper.set(vaults.alice, ref, b"the-second-value")
    assert await opened(vaults, ref) == "the-second-value"
    async with vaults.database.begin(vaults.alice) as uow:
        (info,) = await vaults.vault.list(uow, vaults.alice.owner)
    assert (info.name, info.scope, info.version) == ("TOKEN", "user", 2)
    assert info.origins == ("https://api.example",)
    await vaults.keeper.delete(vaults.alice, ref)
    assert await vaults.keeper.get(vaults.alice, [ref]) == {}
    with pytest.raises(AppError) as caught:
        await vaults.keeper.delete(vaults.alice, ref)
    assert caught.value.code is Code.NOT_FOUND
    with pytest.raises(AppError) as missing:
        await vaults.keeper.set(vaults.alice, ref, b"another-value", must_exist=True)
    assert missing.value.code is Code.NOT_FOUND


async def test_nothing_of_a_value_is_stored_in_the_open(vaults: Vaults) -> None:
    await vaults.set("canary-0123456789")
    everything = await rows(vaults, "select * from app.vault_secret")
    everything += await rows(vaults, "select * from app.vault_sealed")
    everything += await rows(vaults, "select * from app.audit_log")
    assert "canary" not in str([dict(row) for row in everything])
    for row in await rows(vaults, "select * from app.vault_sealed"):
        assert b"canary" not in bytes(row["ciphertext"]) + bytes(row["wrapped"])


async def test_each_version_has_a_key_of_its_own(vaults: Vaults) -> None:
    await vaults.set("the-same-value")
    first = await rows(vaults, "select * from app.vault_sealed")
    await vaults.set("the-same-value")
    (second,) = await rows(vaults, "select * from app.vault_sealed")
    assert first[0]["version"] + 1 == second["version"]
    assert first[0]["ciphertext"] != second["ciphertext"]
    assert first[0]["wrapped"] != second["wrapped"]


async def test_a_row_of_another_tenant_does_not_open(vaults: Vaults) -> None:
    ref = await vaults.set()
    await change(
        vaults,
        "update app.vault_secret set user_id = :bob, holder = :bob",
        bob=vaults.bob.owner,
    )
    moved = SecretRef(vaults.bob.owner, "user", ref.name)
    with pytest.raises(AppError) as caught:
        await vaults.keeper.get(vaults.bob, [moved])
    assert caught.value.code is Code.SECRET_UNREADABLE


async def test_a_row_of_another_secret_or_version_does_not_open(vaults: Vaults) -> None:
    first, second = await vaults.set(name="ONE"), await vaults.set(name="TWO")
    await change(
        vaults,
        """
        update app.vault_sealed t set wrapped = o.wrapped, ciphertext = o.ciphertext
        from app.vault_sealed o, app.vault_secret s
        where t.secret_id = s.secret_id and s.name = 'ONE' and o.secret_id <> t.secret_id
        """,
    )
    assert await refused(vaults, first) is Code.SECRET_UNREADABLE
    assert await opened(vaults, second) == "s3cret-value"
    await change(vaults, "update app.vault_secret set version = 7")
    await change(vaults, "update app.vault_sealed set version = 7")
    assert await refused(vaults, second) is Code.SECRET_UNREADABLE


async def test_a_value_of_before_does_not_come_back(vaults: Vaults) -> None:
    ref = await vaults.set("the-first-value")
    (old,) = await rows(vaults, "select * from app.vault_sealed")
    await vaults.set("the-second-value")
    await change(
        vaults,
        "update app.vault_sealed set wrapped = :wrapped, ciphertext = :ciphertext",
        wrapped=old["wrapped"],
        ciphertext=old["ciphertext"],
    )
    assert await refused(vaults, ref) is Code.SECRET_UNREADABLE


async def test_where_it_may_go_cannot_be_widened_behind_its_back(vaults: Vaults) -> None:
    ref = await vaults.set()
    await change(vaults, "update app.vault_secret set origins = '{https://thief.example}'")
    assert await refused(vaults, ref) is Code.SECRET_UNREADABLE


@pytest.mark.parametrize("column", ["wrapped", "ciphertext"])
async def test_a_flipped_bit_opens_nothing(vaults: Vaults, column: str) -> None:
    ref = await vaults.set()
    for place in (0, 12, 20):
        flip = f"set_byte({column}, {place}, get_byte({column}, {place}) # 1)"
        await change(vaults, f"update app.vault_sealed set {column} = {flip}")
        assert await refused(vaults, ref) is Code.SECRET_UNREADABLE
        await change(vaults, f"update app.vault_sealed set {column} = {flip}")
    assert await opened(vaults, ref) == "s3cret-value"


async def test_keys_rotate_without_touching_what_is_sealed(vaults: Vaults) -> None:
    refs = [await vaults.set(f"value-number-{n}", f"S{n}") for n in range(5)]
    before = await rows(vaults, "select * from app.vault_sealed order by secret_id")
    fresh = await vaults.vault.rotate_key()
    assert await vaults.keeper.rewrap_all() == (5, 0)
    assert await vaults.keeper.rewrap_all() == (0, 0)
    after = await rows(vaults, "select * from app.vault_sealed order by secret_id")
    for old, new in zip(before, after, strict=True):
        assert (old["ciphertext"], old["version"]) == (new["ciphertext"], new["version"])
        assert old["wrapped"] != new["wrapped"]
        assert new["kek_id"] == fresh != old["kek_id"]
    found = await vaults.keeper.get(vaults.alice, refs)
    assert [found[ref].text for ref in refs] == [f"value-number-{n}" for n in range(5)]


async def test_one_that_cannot_be_opened_does_not_stop_the_others(vaults: Vaults) -> None:
    for n in range(4):
        await vaults.set(f"value-number-{n}", f"S{n}")
    await change(
        vaults,
        "update app.vault_sealed set wrapped = 'x' where secret_id ="
        " (select secret_id from app.vault_secret where name = 'S1')",
    )
    await vaults.vault.rotate_key()
    assert await vaults.keeper.rewrap_all() == (3, 1)


async def test_a_value_set_during_a_rotation_is_kept(vaults: Vaults) -> None:
    ref = await vaults.set("the-first-value")
    async with vaults.database.begin(SERVICE) as uow:
        (stale,) = await vaults.vault.stale(uow, "another key")
    await vaults.vault.rotate_key()
    fresh = await vaults.vault.rewrap(stale)
    await vaults.set("the-second-value")
    async with vaults.database.begin(SERVICE) as uow:
        assert not await vaults.vault.put_rewrapped(uow, fresh, stale.kek_id)
    assert await opened(vaults, ref) == "the-second-value"


async def test_many_at_once_write_a_version_each(vaults: Vaults) -> None:
    ref = vaults.ref()
    values = [f"value-number-{n}".encode() for n in range(4)]
    made = await asyncio.gather(*(vaults.keeper.set(vaults.alice, ref, value) for value in values))
    assert sorted(info.version for info in made) == [1, 2, 3, 4]
    assert (await opened(vaults, ref)).encode() in values


async def test_names_are_apart_by_scope_and_owner(vaults: Vaults) -> None:
    scopes = ("user", "project", "developer")
    refs = [vaults.ref(scope=scope) for scope in scopes]
    refs.append(SecretRef(vaults.bob.owner, "user", "TOKEN"))
    for n, ref in enumerate(refs):
        await vaults.keeper.set(vaults.alice, ref, f"value-number-{n}".encode())
    found = await vaults.keeper.get(vaults.alice, refs)
    assert [found[ref].text for ref in refs] == [f"value-number-{n}" for n in range(4)]
    async with vaults.database.begin(vaults.bob) as uow:
        assert len(await vaults.vault.list(uow, vaults.bob.owner)) == 1
        assert await vaults.vault.list(uow, vaults.alice.owner) == []


async def test_what_the_platform_keeps_is_not_listed(vaults: Vaults) -> None:
    ref = SecretRef(vaults.alice.owner, "oauth", "connection:x")
    await vaults.keeper.set(vaults.alice, ref, b"{}")
    async with vaults.database.begin(vaults.alice) as uow:
        assert await vaults.vault.list(uow, vaults.alice.owner) == []


async def test_the_audit_log_says_what_was_done(vaults: Vaults) -> None:
    ref = await vaults.set()
    await vaults.keeper.delete(vaults.alice, ref)
    found = await rows(
        vaults, "select * from app.audit_log where action like 'vault.%' order by entry_id"
    )
    assert [row["action"] for row in found] == ["vault.secret_set", "vault.secret_deleted"]
    assert found[0]["details"] == {"scope": "user", "name": "TOKEN", "version": 1}
    assert {row["user_id"] for row in found} == {vaults.alice.owner}


async def test_use_is_noted_and_changes_are_told(vaults: Vaults) -> None:
    changes = vaults.wakeups.ticket(changes_of(vaults.alice.owner))
    ref = await vaults.set()
    assert changes.event.is_set()
    await opened(vaults, ref)
    async with vaults.database.begin(SERVICE) as uow:
        await vaults.vault.record_use(uow)
    (row,) = await rows(vaults, "select used_at, changed_at from app.vault_secret")
    assert row["used_at"] >= row["changed_at"]


async def test_there_is_a_most(vaults: Vaults) -> None:
    await change(
        vaults,
        """
        insert into app.vault_secret (secret_id, user_id, scope, holder, name, version)
        select gen_random_uuid(), :alice, 'user', :alice, 'N' || n, 1
        from generate_series(1, :most) n
        """,
        alice=vaults.alice.owner,
        most=MAX_SECRETS,
    )
    with pytest.raises(AppError) as caught:
        await vaults.set()
    assert caught.value.code is Code.CONFLICT
    assert "most" in caught.value.message


async def test_no_transaction_waits_for_a_distant_key(vaults: Vaults, hub: Hub, clone: str) -> None:
    reached, go = asyncio.Event(), asyncio.Event()
    wrap = vaults.keys.wrap

    async def slow(data_key: bytes, binding: bytes) -> Wrapped:
        reached.set()
        await go.wait()
        return await wrap(data_key, binding)

    vaults.keys.wrap = slow  # type: ignore[method-assign]
    setting = asyncio.create_task(vaults.set())
    await reached.wait()
    # Others' states are shown to a superuser alone, and the tests share one PostgreSQL.
    with psycopg.connect(hub.dsn(hub.superuser, clone)) as conn:
        states = [
            str(row[0])
            for row in conn.execute(
                "select state from pg_stat_activity where datname = current_database()"
                " and pid <> pg_backend_pid() and backend_type = 'client backend'"
            )
        ]
    assert states
    assert [one for one in states if one.startswith("idle in transaction")] == []
    go.set()
    assert await opened(vaults, await setting) == "s3cret-value"


@pytest.mark.parametrize(
    "value", ["short", "a" * 8193, "two\nlines", " canary", "canary ", "naïve!"]
)
def test_a_value_that_no_header_can_carry_is_refused_without_showing_it(value: str) -> None:
    with pytest.raises(AppError) as caught:
        check_value(value)
    assert caught.value.code is Code.INVALID_INPUT
    assert value.strip() not in str(caught.value.as_dict())


@pytest.mark.parametrize("name", ["", "1TOKEN", "a b", "a/b", "é", "a" * 65, "a\n"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(AppError) as caught:
        check_name(name)
    assert caught.value.code is Code.INVALID_INPUT
