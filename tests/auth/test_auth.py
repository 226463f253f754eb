"""Users, projects and API keys on a real database."""

from contextlib import suppress
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from app.auth import USER_CREATED, Auth, IssuedKey, User
from app.kernel.db import Database
from app.kernel.errors import AppError, Code
from app.kernel.ids import new_id
from app.kernel.principal import SERVICE, USER_SCOPES, Principal
from tests.isolation import assert_isolated
from tests.manual_clock import ManualClock

pytestmark = pytest.mark.anyio
SCOPES = frozenset({"jobs", "files"})


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def auth(clock: ManualClock) -> Auth:
    return Auth(clock)


async def make_user(database: Database, auth: Auth, email: str = "ada@example.org") -> User:
    async with database.begin(SERVICE) as uow:
        return await auth.ensure_user(uow, email)


async def make_key(
    database: Database, auth: Auth, user: User, expires_at: datetime | None = None
) -> IssuedKey:
    async with database.begin(SERVICE) as uow:
        return await auth.issue_key(
            uow, user.user_id, name="laptop", scopes=SCOPES, expires_at=expires_at
        )


async def authenticate(database: Database, auth: Auth, secret: str) -> Principal:
    async with database.begin(SERVICE) as uow:
        return await auth.authenticate(uow, secret)


async def refusal(database: Database, auth: Auth, secret: str) -> AppError:
    with pytest.raises(AppError) as caught:
        await authenticate(database, auth, secret)
    assert caught.value.code is Code.UNAUTHENTICATED
    return caught.value


async def count(database: Database, table: str) -> int:
    async with database.begin(SERVICE) as uow:
        return int((await uow.execute(f"select count(*) from app.{table}")).scalar_one())


async def test_a_user_is_made_once_and_announced_once(database: Database, auth: Auth) -> None:
    async with database.begin(SERVICE) as uow:
        first = await auth.ensure_user(uow, " Ada@Example.org ", "Pro")
        again = await auth.ensure_user(uow, "ada@example.ORG", "Free")
        events = (await uow.execute("select name, payload from app.outbox")).all()
    assert first == again
    assert first.email == "ada@example.org"
    assert first.subscription_tier == "Pro"
    assert [event.name for event in events] == [USER_CREATED]
    assert events[0].payload["user_id"] == str(first.user_id)


@pytest.mark.parametrize("email", ["", "ada", "a b@c.d", "a@b@c", "x" * 250 + "@b.org", "a@b\x00"])
async def test_what_is_no_address_is_refused(database: Database, auth: Auth, email: str) -> None:
    with pytest.raises(AppError) as caught:
        await make_user(database, auth, email)
    assert caught.value.code is Code.INVALID_INPUT
    assert await count(database, "users") == 0


async def test_an_unknown_tier_is_refused(database: Database, auth: Auth) -> None:
    with pytest.raises(AppError, match="Free, Pro, Enterprise"):
        async with database.begin(SERVICE) as uow:
            await auth.ensure_user(uow, "ada@example.org", "Gold")  # type: ignore[arg-type]


async def test_a_project_is_made_once_a_user(database: Database, auth: Auth) -> None:
    ada, bob = await make_user(database, auth), await make_user(database, auth, "bob@example.org")
    async with database.begin(SERVICE) as uow:
        first = await auth.ensure_project(uow, ada.user_id, "HBB")
        assert await auth.ensure_project(uow, ada.user_id, " HBB ") == first
        assert (await auth.ensure_project(uow, bob.user_id, "HBB")) != first


async def test_the_secret_is_stored_nowhere(database: Database, auth: Auth) -> None:
    issued = await make_key(database, auth, await make_user(database, auth))
    assert len(issued.secret) == 48
    assert issued.secret.startswith(issued.key.prefix)
    assert issued.secret not in repr(issued)
    for table in ("api_keys", "audit_log", "outbox"):
        async with database.begin(SERVICE) as uow:
            found = await uow.execute(f"select t::text as line from app.{table} t")
            assert not [row for row in found if issued.secret[12:] in row.line]


async def test_a_key_authenticates_as_its_user(database: Database, auth: Auth) -> None:
    user = await make_user(database, auth)
    async with database.begin(SERVICE) as uow:
        project = await auth.ensure_project(uow, user.user_id, "HBB")
        issued = await auth.issue_key(
            uow, user.user_id, name="ci", scopes=SCOPES, project_id=project.project_id
        )
    principal = await authenticate(database, auth, issued.secret)
    assert principal == Principal(
        "user", user.user_id, project.project_id, SCOPES, issued.key.key_id
    )


async def test_every_refusal_says_the_same(
    database: Database, auth: Auth, clock: ManualClock
) -> None:
    user = await make_user(database, auth)
    expiring = await make_key(database, auth, user, clock.now() + timedelta(seconds=60))
    revoked = await make_key(database, auth, user)
    async with database.begin(SERVICE) as uow:
        await auth.revoke_key(uow, user.user_id, revoked.key.key_id)
    clock.advance(60)
    unknown = "uaol_" + "A" * 43
    secrets = [expiring.secret, revoked.secret, unknown, "", "uaol_short", unknown + "\n", "é" * 48]
    answers = [(await refusal(database, auth, secret)).as_dict() for secret in secrets]
    assert all(answer == answers[0] for answer in answers)


async def test_a_recent_key_needs_no_database(
    database: Database, auth: Auth, clock: ManualClock
) -> None:
    issued = await make_key(database, auth, await make_user(database, auth))
    assert auth.recall(issued.secret) is None
    principal = await authenticate(database, auth, issued.secret)
    clock.advance(4.9)
    assert auth.recall(issued.secret) == principal
    clock.advance(0.2)
    assert auth.recall(issued.secret) is None


async def test_a_remembered_key_still_expires(
    database: Database, auth: Auth, clock: ManualClock
) -> None:
    user = await make_user(database, auth)
    issued = await make_key(database, auth, user, clock.now() + timedelta(seconds=2))
    await authenticate(database, auth, issued.secret)
    clock.advance(2)
    with pytest.raises(AppError) as caught:
        auth.recall(issued.secret)
    assert caught.value.code is Code.UNAUTHENTICATED


async def test_revoking_forgets_the_key_at_the_commit(database: Database, auth: Auth) -> None:
    user = await make_user(database, auth)
    issued = await make_key(database, auth, user)
    await authenticate(database, auth, issued.secret)
    with suppress(KeyError):
        async with database.begin(SERVICE) as uow:
            await auth.revoke_key(uow, user.user_id, issued.key.key_id)
            raise KeyError
    assert auth.recall(issued.secret) is not None
    async with database.begin(SERVICE) as uow:
        await auth.revoke_key(uow, user.user_id, issued.key.key_id)
        await auth.revoke_key(uow, user.user_id, issued.key.key_id)
    assert auth.recall(issued.secret) is None
    await refusal(database, auth, issued.secret)


async def test_a_row_read_before_the_revocation_is_not_remembered(
    database: Database, auth: Auth
) -> None:
    user = await make_user(database, auth)
    issued = await make_key(database, auth, user)
    async with database.begin(SERVICE) as reader:
        await auth.authenticate(reader, issued.secret)
        async with database.begin(SERVICE) as uow:
            await auth.revoke_key(uow, user.user_id, issued.key.key_id)
    assert auth.recall(issued.secret) is None


async def test_a_key_that_was_never_committed_is_not_remembered(
    database: Database, auth: Auth
) -> None:
    user = await make_user(database, auth)
    made: list[IssuedKey] = []
    with suppress(KeyError):
        async with database.begin(SERVICE) as uow:
            made.append(await auth.issue_key(uow, user.user_id, name="x", scopes=SCOPES))
            await auth.authenticate(uow, made[0].secret)
            raise KeyError
    assert auth.recall(made[0].secret) is None
    await refusal(database, auth, made[0].secret)


async def test_keys_are_listed_to_their_owner_only(database: Database, auth: Auth) -> None:
    ada, bob = await make_user(database, auth), await make_user(database, auth, "bob@example.org")
    first, second = [await make_key(database, auth, ada) for _ in range(2)]
    async with database.begin(SERVICE) as uow:
        assert await auth.list_keys(uow, ada.user_id) == [second.key, first.key]
        assert await auth.list_keys(uow, bob.user_id) == []


@pytest.mark.parametrize("is_owner", [True, False])
async def test_only_ones_own_keys_can_be_revoked(
    database: Database, auth: Auth, is_owner: bool
) -> None:
    ada, bob = await make_user(database, auth), await make_user(database, auth, "bob@example.org")
    issued = await make_key(database, auth, ada)
    key_id = new_id() if is_owner else issued.key.key_id
    with pytest.raises(AppError) as caught:
        async with database.begin(SERVICE) as uow:
            await auth.revoke_key(uow, (ada if is_owner else bob).user_id, key_id)
    assert caught.value.code is Code.NOT_FOUND
    assert (await authenticate(database, auth, issued.secret)).user_id == ada.user_id


@pytest.mark.parametrize("scopes", [frozenset(), frozenset({"root"}), frozenset({"jobs", ""})])
async def test_scopes_must_be_known(database: Database, auth: Auth, scopes: frozenset[str]) -> None:
    user = await make_user(database, auth)
    with pytest.raises(AppError) as caught:
        async with database.begin(SERVICE) as uow:
            await auth.issue_key(uow, user.user_id, name="x", scopes=scopes)
    assert caught.value.code is Code.INVALID_INPUT


async def test_a_key_cannot_make_a_stronger_one(database: Database, auth: Auth) -> None:
    user = await make_user(database, auth)
    mine = Principal("user", user.user_id, scopes=USER_SCOPES).elevated()
    with pytest.raises(AppError) as caught:
        async with database.begin(mine) as uow:
            await auth.issue_key(uow, user.user_id, name="x", scopes=frozenset({"admin"}))
    assert caught.value.code is Code.FORBIDDEN
    async with database.begin(mine) as uow:
        issued = await auth.issue_key(uow, user.user_id, name="x", scopes=frozenset({"jobs"}))
    assert issued.key.scopes == {"jobs"}


async def test_a_key_cannot_name_a_foreign_project(database: Database, auth: Auth) -> None:
    ada, bob = await make_user(database, auth), await make_user(database, auth, "bob@example.org")
    async with database.begin(SERVICE) as uow:
        project = await auth.ensure_project(uow, ada.user_id, "HBB")
    with pytest.raises(AppError) as caught:
        async with database.begin(SERVICE) as uow:
            await auth.issue_key(
                uow, bob.user_id, name="x", scopes=SCOPES, project_id=project.project_id
            )
    assert caught.value.code is Code.NOT_FOUND


@pytest.mark.parametrize("is_naive", [True, False])
async def test_a_key_must_expire_in_the_future(
    database: Database, auth: Auth, clock: ManualClock, is_naive: bool
) -> None:
    user = await make_user(database, auth)
    expires_at = clock.now() + timedelta(days=1) if is_naive else clock.now()
    with pytest.raises(AppError) as caught:
        await make_key(
            database, auth, user, expires_at.replace(tzinfo=None) if is_naive else expires_at
        )
    assert caught.value.code is Code.INVALID_INPUT


async def test_the_last_use_is_written_at_most_once_an_hour(
    database: Database, auth: Auth, clock: ManualClock
) -> None:
    user = await make_user(database, auth)
    issued = await make_key(database, auth, user)

    async def use() -> datetime | None:
        await authenticate(database, auth, issued.secret)
        async with database.begin(SERVICE) as uow:
            await auth.record_use(uow)
            return (await auth.list_keys(uow, user.user_id))[0].last_used_at

    first = clock.now()
    assert await use() == first
    clock.advance(3000)
    assert await use() == first
    clock.advance(3000)
    assert await use() == clock.now()


async def test_what_happens_to_keys_is_audited(database: Database, auth: Auth) -> None:
    user = await make_user(database, auth)
    issued = await make_key(database, auth, user)
    mine = Principal("service", user.user_id, key_id=issued.key.key_id)
    async with database.begin(mine) as uow:
        await auth.revoke_key(uow, user.user_id, issued.key.key_id)
        entries = (await uow.execute("select * from app.audit_log order by entry_id")).all()
    subject = f"key:{issued.key.key_id}"
    assert [(entry.action, entry.actor, entry.subject, entry.user_id) for entry in entries[1:]] == [
        ("auth.key_issued", "platform", subject, None),
        ("auth.key_revoked", subject, subject, user.user_id),
    ]


@pytest.mark.parametrize("table", ["users", "projects", "api_keys"])
async def test_another_tenant_sees_and_changes_nothing(
    database: Database, auth: Auth, table: str
) -> None:
    ada = await make_user(database, auth)
    await make_key(database, auth, ada)
    async with database.begin(SERVICE) as uow:
        await auth.ensure_project(uow, ada.user_id, "HBB")
    owner = Principal("user", ada.user_id, scopes=USER_SCOPES)
    stranger = Principal("user", UUID(int=1), scopes=USER_SCOPES)
    await assert_isolated(database, table, stranger=stranger, owner=owner)
