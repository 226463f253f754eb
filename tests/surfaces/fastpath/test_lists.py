"""Lists of tools the fast way and through the SDK: same status, same JSON, for every caller."""

from collections.abc import Sequence
from typing import Any

import orjson
import pytest

from app.kernel.principal import SERVICE, Scope
from app.surfaces.mcp.framing import Framing
from tests.surfaces.fastpath.conftest import META, Far
from tests.surfaces.world import Person, person

pytestmark = pytest.mark.anyio
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
OWN = "mcp-method", "tools/list"
Pairs = list[tuple[str, str]]


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The ids of the requests that went the fast way."""
    found: list[bytes] = []
    original = Framing.listed

    def note(self: Framing, request_id: bytes, *rest: Any) -> bytes:
        found.append(request_id)
        return original(self, request_id, *rest)

    monkeypatch.setattr(Framing, "listed", note)
    return found


def asked(**params: Any) -> dict[str, Any]:
    given = {key: value for key, value in ({"_meta": META} | params).items() if value is not ...}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": given}


async def both(
    far: Far,
    body: Any,
    headers: Sequence[tuple[str, str]] = (),
    who: Person | None = None,
    query: str = "",
) -> list[tuple[int, Any]]:
    """Status and JSON of the SDK's way, then of the fast one."""
    found = []
    for is_slow in (True, False):
        response = await far.post(
            body, name="", headers=[OWN, *headers], drop="mcp-name", who=who, is_slow=is_slow,
            query=query,
        )  # fmt: skip
        found.append((response.status_code, orjson.loads(response.content)))
    return found


@pytest.mark.parametrize(
    "meta",
    [META, META | {CAPABILITIES: {"elicitation": {}, "sampling": {}}}],
    ids=["plain", "can be asked"],
)
async def test_a_list_is_the_same_either_way(
    far: Far, listed: list[bytes], meta: dict[str, Any]
) -> None:
    slow, fast = await both(far, asked(_meta=meta))
    assert fast == slow
    names = [tool["name"] for tool in fast[1]["result"]["tools"]]
    assert "far.echo" in names
    assert "far.off" not in names
    assert listed == [b"1"]


@pytest.mark.parametrize(
    ("body", "headers", "query"),
    [
        (asked(cursor="x"), [], ""),
        (asked(cursor=None), [], ""),
        (asked(more=1), [], ""),
        (asked(_meta=...), [], ""),
        (asked(_meta=META | {"progressToken": 1}), [], ""),
        (asked(_meta=META | {"uaol/names": "underscore"}), [], ""),
        (asked() | {"id": None}, [], ""),
        (asked() | {"method": "tools/call"}, [], ""),
        (asked() | {"params": []}, [], ""),
        (asked(), [("uaol-names", "underscore")], ""),
        (asked(), [("uaol-names", "nonsense")], ""),
        (asked(), [("mcp-name", "x")], ""),
        (asked(), [("authorization", "Bearer uaol_" + "x" * 43)], ""),
        (asked(), [], "?names=underscore"),
    ],
    ids=str,
)
async def test_all_else_is_left_to_the_sdk(
    far: Far, listed: list[bytes], body: Any, headers: Pairs, query: str
) -> None:
    slow, fast = await both(far, body, headers, query=query)
    assert fast == slow
    assert listed == []


async def test_everybody_sees_what_is_theirs(far: Far, listed: list[bytes]) -> None:
    narrow = await person(far.services, "narrow@example.org", scopes=frozenset({Scope.JOBS}))
    seen = []
    for who in (far.world.alice, narrow):
        slow, fast = await both(far, asked(), who=who)
        assert fast == slow
        seen.append({tool["name"] for tool in fast[1]["result"]["tools"]})
    assert seen[1] < seen[0]
    assert "far.echo" in seen[0] - seen[1]
    assert len(listed) == 2


async def test_a_list_changes_with_the_registry(far: Far, listed: list[bytes]) -> None:
    before = (await both(far, asked()))[1][1]["result"]["tools"]
    async with far.world.database.begin(SERVICE) as uow:
        await far.services.registry.disable(uow, "far.echo")
        await far.services.registry.refresh(uow)
    slow, fast = await both(far, asked())
    assert fast == slow
    after = fast[1]["result"]["tools"]
    assert {one["name"] for one in before} - {one["name"] for one in after} == {"far.echo"}
    assert len(listed) == 2
