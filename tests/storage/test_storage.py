"""Files with owners on a real database, and links that expire."""

from pathlib import Path
from uuid import UUID

import pytest

from app.auth import Auth
from app.kernel.db import Database
from app.kernel.errors import AppError, Code
from app.kernel.ids import new_id
from app.kernel.principal import SERVICE, USER_SCOPES, Principal
from app.storage import Kind, LocalBlobs, Storage, StoredFile
from tests.isolation import assert_isolated
from tests.manual_clock import ManualClock

pytestmark = pytest.mark.anyio
JOB = UUID(int=7)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def storage(tmp_path: Path, clock: ManualClock) -> Storage:
    return Storage(LocalBlobs(tmp_path), clock, bytes(32), 1000, link_ttl=60)


async def make_user(database: Database, email: str) -> Principal:
    async with database.begin(SERVICE) as uow:
        user = await Auth(ManualClock()).ensure_user(uow, email)
    return Principal("user", user.user_id, scopes=USER_SCOPES)


@pytest.fixture
async def ada(database: Database) -> Principal:
    return await make_user(database, "ada@example.org")


@pytest.fixture
async def bob(database: Database) -> Principal:
    return await make_user(database, "bob@example.org")


async def attach(
    database: Database,
    storage: Storage,
    owner: Principal,
    *,
    data: bytes = b"ACGT",
    name: str = "report.md",
    kind: Kind = "artifact",
) -> StoredFile:
    blob = await storage.put_bytes(data)
    async with database.begin(owner.elevated()) as uow:
        return await storage.attach(
            uow,
            user_id=owner.owner,
            blob=blob,
            name=name,
            media_type="text/markdown",
            kind=kind,
            job_id=JOB if kind == "artifact" else None,
        )


async def code_of(database: Database, storage: Storage, asker: Principal, file_id: UUID) -> Code:
    with pytest.raises(AppError) as caught:
        async with database.begin(asker) as uow:
            await storage.get(uow, file_id)
    return caught.value.code


async def test_a_file_comes_back_to_its_owner(
    database: Database, storage: Storage, ada: Principal
) -> None:
    file = await attach(database, storage, ada, name="../a b.md", kind="input")
    async with database.begin(ada) as uow:
        found = await storage.get(uow, file.file_id)
    assert found == file
    assert (found.name, found.size, found.kind) == ("a b.md", 4, "input")
    assert b"".join([piece async for piece in storage.open(found)]) == b"ACGT"
    assert storage.path(found).read_bytes() == b"ACGT"


async def test_an_artifact_attached_again_is_the_same_file(
    database: Database, storage: Storage, ada: Principal
) -> None:
    first = await attach(database, storage, ada, data=b"one")
    second = await attach(database, storage, ada, data=b"three")
    assert second.file_id == first.file_id
    assert (second.size, second.sha256 != first.sha256) == (5, True)
    async with database.begin(ada) as uow:
        assert await storage.list(uow, JOB) == [second]


async def test_the_same_upload_is_one_file_and_another_content_is_another(
    database: Database, storage: Storage, ada: Principal
) -> None:
    first = await attach(database, storage, ada, kind="input")
    second = await attach(database, storage, ada, kind="input")
    third = await attach(database, storage, ada, kind="input", data=b"other")
    assert first.file_id == second.file_id
    assert third.file_id != first.file_id


async def test_artifacts_are_listed_by_name(
    database: Database, storage: Storage, ada: Principal
) -> None:
    for name in ("report.md", "guides.csv", "map.svg"):
        await attach(database, storage, ada, name=name)
    await attach(database, storage, ada, kind="input")
    async with database.begin(ada) as uow:
        names = [file.name for file in await storage.list(uow, JOB)]
        assert await storage.list(uow, UUID(int=8)) == []
    assert names == ["guides.csv", "map.svg", "report.md"]


async def test_a_stranger_finds_nothing_even_through_the_platform(
    database: Database, storage: Storage, ada: Principal, bob: Principal
) -> None:
    file = await attach(database, storage, ada)
    for asker in (bob, bob.elevated()):
        assert await code_of(database, storage, asker, file.file_id) is Code.NOT_FOUND
        async with database.begin(asker) as uow:
            assert await storage.list(uow, JOB) == []
    for asker in (ada, ada.elevated(), SERVICE):
        async with database.begin(asker) as uow:
            assert await storage.list(uow, JOB) == [file]
    assert await code_of(database, storage, ada, new_id()) is Code.NOT_FOUND


async def test_a_stranger_cannot_take_an_artifact_over(
    database: Database, storage: Storage, ada: Principal, bob: Principal
) -> None:
    file = await attach(database, storage, ada)
    with pytest.raises(AppError) as caught:
        await attach(database, storage, bob, data=b"evil")
    assert caught.value.code is Code.CONFLICT
    async with database.begin(ada) as uow:
        assert await storage.get(uow, file.file_id) == file


async def test_another_tenant_sees_and_changes_nothing(
    database: Database, storage: Storage, ada: Principal, bob: Principal
) -> None:
    await attach(database, storage, ada)
    await attach(database, storage, ada, kind="input")
    await assert_isolated(database, "files", stranger=bob, owner=ada)


async def test_bytes_past_the_limit_are_refused(storage: Storage) -> None:
    assert (await storage.put_bytes(bytes(1000))).size == 1000
    with pytest.raises(AppError) as caught:
        await storage.put_bytes(bytes(1001))
    assert caught.value.code is Code.PAYLOAD_TOO_LARGE


def link_code(storage: Storage, file_id: UUID, expires: int, signature: str) -> Code | None:
    try:
        storage.verify(file_id, expires, signature)
    except AppError as error:
        return error.code
    return None


def test_a_link_opens_its_file_until_it_expires(storage: Storage, clock: ManualClock) -> None:
    file_id = new_id()
    expires, signature = storage.sign(file_id)
    assert expires == int(clock.now().timestamp()) + 60
    clock.advance(59.9)
    assert link_code(storage, file_id, expires, signature) is None
    clock.advance(0.1)
    assert link_code(storage, file_id, expires, signature) is Code.LINK_INVALID


def test_a_link_changed_in_any_way_opens_nothing(storage: Storage, tmp_path: Path) -> None:
    file_id = new_id()
    expires, signature = storage.sign(file_id)
    other = Storage(LocalBlobs(tmp_path), ManualClock(), b"\x01" * 32, 1000)
    assert link_code(other, file_id, expires, signature) is Code.LINK_INVALID
    assert link_code(storage, new_id(), expires, signature) is Code.LINK_INVALID
    for changed in (expires + 1, -1, 2**63, 2**80, 0):
        assert link_code(storage, file_id, changed, signature) is Code.LINK_INVALID
    for wrong in ("", signature[:-1], signature.upper(), signature + "0", "é" * 64, "\udc80"):
        assert link_code(storage, file_id, expires, wrong) is Code.LINK_INVALID


def test_a_short_signing_key_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Storage(LocalBlobs(tmp_path), ManualClock(), b"short", 1000)
