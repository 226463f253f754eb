"""What goes along with a call: filled for one origin, missing with a clear word, forgotten soon."""

from dataclasses import dataclass, field
from uuid import UUID

import pytest

from app.kernel.errors import AppError, Code
from app.kernel.principal import Principal, Scope
from app.proxy.credentials import NO_INJECTION, RemoteServer, ServerCredentials, origin_of
from app.registry import SecretHeader
from app.vault import SecretRef
from tests.manual_clock import ManualClock
from tests.vault.conftest import Vaults, vaults

__all__ = ["vaults"]
pytestmark = pytest.mark.anyio

URL = "https://api.example/mcp"
ORIGIN = ("https://api.example",)
BEARER = SecretHeader("Authorization", "Bearer {TOKEN}")


@dataclass
class Callers:
    vaults: Vaults
    clock: ManualClock
    upstreams: dict[str, RemoteServer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.credentials = ServerCredentials(
            self.upstreams.get, self.vaults.keeper, self.vaults.wakeups, self.clock
        )

    def serve(self, *headers: SecretHeader, url: str = URL, developer: UUID | None = None) -> None:
        self.upstreams["api"] = RemoteServer("api", url, headers, None, developer)

    async def set(
        self,
        value: str,
        scope: str = "user",
        name: str = "TOKEN",
        origins: tuple[str, ...] = ORIGIN,
    ) -> None:
        ref = self.vaults.ref(name, scope)
        await self.vaults.keeper.set(self.vaults.alice, ref, value.encode(), origins)

    async def headers(self, principal: Principal | None = None) -> dict[str, str]:
        return await self.credentials.headers(principal or self.vaults.alice, "api")

    async def missing(self, principal: Principal | None = None) -> AppError:
        with pytest.raises(AppError) as caught:
            await self.headers(principal)
        assert caught.value.code is Code.SECRET_MISSING
        return caught.value


@pytest.fixture
def callers(vaults: Vaults) -> Callers:
    return Callers(vaults, ManualClock())


async def test_a_server_that_needs_nothing_gets_nothing(callers: Callers) -> None:
    assert await callers.headers() is NO_INJECTION
    callers.serve()
    assert await callers.headers() is NO_INJECTION


async def test_a_header_is_filled_from_the_callers_own_secret(callers: Callers) -> None:
    callers.serve(BEARER, SecretHeader("X-Api-Key", "{KEY}", is_required=False))
    await callers.set("canary-0123456789")
    injection = await callers.credentials.headers(callers.vaults.alice, "api")
    assert injection == {"Authorization": "Bearer canary-0123456789"}
    assert "canary" not in repr(injection)
    assert injection.scrubber.text("said canary-0123456789") == "said ***"
    assert injection.owner == f"user:{callers.vaults.alice.owner}"


async def test_what_is_missing_is_named(callers: Callers) -> None:
    callers.serve(BEARER)
    error = await callers.missing()
    assert error.details["secret"] == "TOKEN"
    assert error.details["server"] == "api"
    assert "PUT /v1/secrets/TOKEN" in str(error.hint)
    await callers.set("canary-0123456789")
    assert await callers.headers()
    assert (await callers.missing(callers.vaults.bob)).details["scope"] == "user"


@pytest.mark.parametrize(
    "url",
    [
        "https://thief.example/mcp",
        "https://api.example.thief.example/mcp",
        "https://api.example:8443/mcp",
        "http://api.example/mcp",
        "https://xapi.example/mcp",
    ],
)
async def test_a_secret_goes_to_no_other_origin(callers: Callers, url: str) -> None:
    callers.serve(BEARER)
    await callers.set("canary-0123456789")
    assert await callers.headers()
    callers.serve(BEARER, url=url)
    error = await callers.missing()
    assert "canary" not in str(error.as_dict())
    assert origin_of(url) in error.message


async def test_another_path_of_the_same_origin_is_the_same(callers: Callers) -> None:
    callers.serve(BEARER, url="https://API.example:443/v2/mcp?x=1")
    await callers.set("canary-0123456789")
    assert await callers.headers()


async def test_a_projects_secret_is_for_its_calls_alone(callers: Callers) -> None:
    callers.serve(SecretHeader("X-Key", "{TOKEN}", "project"))
    await callers.set("project-secret", "project")
    assert await callers.headers() == {"X-Key": "project-secret"}
    alice = callers.vaults.alice
    assert "key of the project" in str(
        (await callers.missing(alice._replace(project_id=None))).hint
    )
    stranger = callers.vaults.bob._replace(project_id=callers.vaults.project)
    await callers.missing(stranger)


async def test_a_developers_secret_serves_everybody(callers: Callers) -> None:
    alice, bob = callers.vaults.alice, callers.vaults.bob
    callers.serve(SecretHeader("X-Key", "{TOKEN}", "developer"), developer=alice.owner)
    assert "developer" in str((await callers.missing(bob)).hint)
    await callers.set("developer-secret", "developer")
    assert await callers.headers(bob) == {"X-Key": "developer-secret"}
    callers.serve(SecretHeader("X-Key", "{TOKEN}", "developer"), developer=bob.owner)
    await callers.missing(bob)


async def test_a_change_is_seen_at_once(callers: Callers) -> None:
    callers.serve(BEARER)
    await callers.set("the-first-value")
    assert await callers.headers() == {"Authorization": "Bearer the-first-value"}
    await callers.set("the-second-value")
    assert await callers.headers() == {"Authorization": "Bearer the-second-value"}
    await callers.vaults.keeper.delete(callers.vaults.alice, callers.vaults.ref())
    await callers.missing()


async def test_a_developers_change_is_seen_by_others_at_once(callers: Callers) -> None:
    alice, bob = callers.vaults.alice, callers.vaults.bob
    callers.serve(SecretHeader("X-Key", "{TOKEN}", "developer"), developer=alice.owner)
    await callers.set("the-first-value", "developer")
    assert await callers.headers(bob) == {"X-Key": "the-first-value"}
    await callers.set("the-second-value", "developer")
    assert await callers.headers(bob) == {"X-Key": "the-second-value"}


async def test_a_warm_call_asks_no_database(callers: Callers) -> None:
    callers.serve(BEARER)
    await callers.set("canary-0123456789")
    first = await callers.headers()
    callers.vaults.keeper._transactions = None  # type: ignore[assignment]
    assert await callers.headers() is first
    callers.clock.advance(31)
    with pytest.raises(AttributeError):
        await callers.headers()


async def test_one_users_secret_is_never_anothers(callers: Callers) -> None:
    callers.serve(BEARER)
    await callers.set("the-secret-of-alice")
    bobs = SecretRef(callers.vaults.bob.owner, "user", "TOKEN")
    await callers.vaults.keeper.set(callers.vaults.bob, bobs, b"the-secret-of-bob", ORIGIN)
    assert await callers.headers() == {"Authorization": "Bearer the-secret-of-alice"}
    assert await callers.headers(callers.vaults.bob) == {
        "Authorization": "Bearer the-secret-of-bob"
    }


async def test_a_refused_secret_is_named_and_not_shown(callers: Callers) -> None:
    callers.serve(BEARER)
    await callers.set("canary-0123456789")
    alice = callers.vaults.alice
    injection = await callers.credentials.headers(alice, "api")
    error = await callers.credentials.refused(alice, "api", 401, "Bearer", injection)
    assert error is not None
    assert error.code is Code.SECRET_REFUSED
    assert error.details["secrets"] == ["TOKEN"]
    assert "canary" not in str(error.as_dict())


async def test_a_caller_without_a_user_has_no_secrets(callers: Callers) -> None:
    callers.serve(BEARER)
    with pytest.raises(AppError) as caught:
        await callers.headers(Principal("service", scopes=frozenset({Scope.ADMIN})))
    assert caught.value.code is Code.FORBIDDEN


async def test_the_nearest_secret_is_taken(callers: Callers) -> None:
    alice, bob = callers.vaults.alice, callers.vaults.bob
    callers.serve(BEARER, developer=bob.owner)
    theirs = SecretRef(bob.owner, "developer", "TOKEN")
    await callers.vaults.keeper.set(bob, theirs, b"of-the-developer", ORIGIN)
    assert await callers.headers() == {"Authorization": "Bearer of-the-developer"}
    await callers.set("of-the-user")
    assert await callers.headers() == {"Authorization": "Bearer of-the-user"}
    await callers.set("of-the-project", "project")
    assert await callers.headers() == {"Authorization": "Bearer of-the-project"}
    plain = alice._replace(project_id=None)
    assert await callers.headers(plain) == {"Authorization": "Bearer of-the-user"}


async def test_one_that_may_be_left_out_is_left_out(callers: Callers) -> None:
    callers.serve(SecretHeader("X-Key", "{TOKEN}", is_required=False))
    assert await callers.headers() == {}
    await callers.set("for-another-server", origins=("https://other.example",))
    assert await callers.headers() == {}
    await callers.set("for-this-server")
    assert await callers.headers() == {"X-Key": "for-this-server"}
