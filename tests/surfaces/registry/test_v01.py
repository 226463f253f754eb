"""The read-only registry API v0.1, as clients of the official registry use it."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest

from tests.registry.servers.documents import simple
from tests.surfaces.registry.conftest import Door, Place, approved, register
from tests.surfaces.registry.upstream import Upstream
from tests.surfaces.test_http_errors import assert_problem

pytestmark = pytest.mark.anyio
OFFICIAL = "io.modelcontextprotocol.registry/official"
LAB = "/v1/registry/servers/lab"
NAME = "io.github.test/lab"


async def get(door: Door, path: str, **query: Any) -> Any:
    response = await door.client.get(f"/v0.1{path}", params=query)
    assert response.status_code == 200, response.text
    return response.json()


def names(answer: dict[str, Any]) -> Sequence[tuple[str, str]]:
    assert answer["metadata"]["count"] == len(answer["servers"])
    return [(one["server"]["name"], one["server"]["version"]) for one in answer["servers"]]


@pytest.fixture
async def three(door: Door, world: Place, upstream: Upstream) -> Place:
    """Two approved servers, one of them in two versions, and one that waits."""
    for slug in ("lab", "other"):
        await approved(door, world, upstream.url, slug)
    await register(door, world.alice, upstream.url, "waits")
    await door.post(world.alice, "/v1/registry/servers/waits/submit", {})
    document = simple(upstream.url, "1.1.0+b1", name=NAME)
    await door.put(world.alice, LAB, {"server": document})
    await door.post(world.alice, f"{LAB}/submit", {})
    await door.post(world.operator, f"{LAB}/approve")
    return world


async def test_only_approved_servers_are_listed(door: Door, three: Place) -> None:
    answer = await get(door, "/servers")
    assert names(answer) == [
        (NAME, "1.0.0"),
        (NAME, "1.1.0+b1"),
        ("io.github.test/other", "1.0.0"),
    ]
    assert "nextCursor" not in answer["metadata"]
    first, second = answer["servers"][:2]
    assert set(first) == {"server", "_meta"}
    assert first["_meta"][OFFICIAL].keys() >= {"status", "publishedAt", "updatedAt", "isLatest"}
    assert [one["_meta"][OFFICIAL]["isLatest"] for one in (first, second)] == [False, True]
    assert first["_meta"]["uaol/gateway"] == {
        "slug": "lab",
        "url": "https://uaol.example/mcp/servers/lab",
    }


async def test_pages_and_filters(door: Door, three: Place) -> None:
    page = await get(door, "/servers", limit=2)
    rest = await get(door, "/servers", limit=2, cursor=page["metadata"]["nextCursor"])
    assert len(names(page)) == 2
    assert names(rest) == [("io.github.test/other", "1.0.0")]
    latest = await get(door, "/servers", version="latest")
    assert names(latest) == [(NAME, "1.1.0+b1"), ("io.github.test/other", "1.0.0")]
    assert names(await get(door, "/servers", version="1.1.0+b1")) == [(NAME, "1.1.0+b1")]
    assert names(await get(door, "/servers", search="OTHER")) == [("io.github.test/other", "1.0.0")]
    now = datetime.now(UTC)
    assert (
        names(await get(door, "/servers", updated_since=(now + timedelta(days=1)).isoformat()))
        == []
    )
    past = (now - timedelta(days=1)).isoformat()
    assert len(names(await get(door, "/servers", updated_since=past))) == 3


async def test_versions_by_an_encoded_name(door: Door, three: Place) -> None:
    for name in (quote(NAME, safe=""), NAME):
        answer = await get(door, f"/servers/{name}/versions")
        assert names(answer) == [(NAME, "1.1.0+b1"), (NAME, "1.0.0")]
        for version, found in (
            ("latest", "1.1.0+b1"),
            ("1.0.0", "1.0.0"),
            (quote("1.1.0+b1", safe=""), "1.1.0+b1"),
        ):
            one = await get(door, f"/servers/{name}/versions/{version}")
            assert (one["server"]["name"], one["server"]["version"]) == (NAME, found)


async def test_what_is_not_there(door: Door, three: Place) -> None:
    name = quote(NAME, safe="")
    for path in (
        f"/v0.1/servers/{name}/versions/9.9.9",
        "/v0.1/servers/io.github.test%2Fwaits/versions",
        "/v0.1/servers/io.github.test%2Fwaits/versions/latest",
        "/v0.1/servers/nothing/versions",
    ):
        assert_problem(await door.client.get(path), 404, "not_found")
    for query in ("cursor=x", "cursor=x:y", "limit=0", "limit=101", "updated_since=today"):
        problem = await door.client.get(f"/v0.1/servers?{query}")
        assert_problem(problem, 422, "invalid_input")
    assert_problem(await door.client.post("/v0.1/servers", json={}), 405, "method_not_allowed")


async def test_deprecated_and_disabled(door: Door, three: Place) -> None:
    told = {"message": "It closes.", "successor": "other"}
    await door.put(three.alice, f"{LAB}/deprecation", told)
    await three.follower.run_once()
    one = await get(door, f"/servers/{quote(NAME, safe='')}/versions/latest")
    official = one["_meta"][OFFICIAL]
    assert official["status"] == "deprecated"
    assert official["statusMessage"] == "It closes. Use other instead."
    await door.post(three.operator, f"{LAB}/disable", {"reason": "Closed."})
    assert names(await get(door, "/servers")) == [("io.github.test/other", "1.0.0")]
