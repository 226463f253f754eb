"""What is refused about servers, and that it changes nothing."""

from typing import Any

import pytest

from tests.registry.servers.documents import BAD, GOOD, changed, simple
from tests.serving import port_of_nobody
from tests.surfaces.registry.conftest import Door, Place, approved, register
from tests.surfaces.registry.upstream import Upstream

pytestmark = pytest.mark.anyio
SERVERS = "/v1/registry/servers"
LAB = f"{SERVERS}/lab"


@pytest.mark.parametrize(("pointer", "value", "where", "code"), BAD[::2])
async def test_bad_documents(
    door: Door, world: Place, pointer: str, value: Any, where: str, code: str
) -> None:
    body = {"slug": "lab", "server": changed(GOOD, pointer, value), "values": {"tenant": "t"}}
    problem = await door.post(world.alice, SERVERS, body, 422)
    assert (problem["code"], problem["details"]["pointer"]) == (code, where)
    assert (await door.get(world.alice, SERVERS))["servers"] == []


@pytest.mark.parametrize(
    ("change", "status", "pointer"),
    [
        ({"slug": "Lab"}, 422, "/slug"),
        ({"slug": "1lab"}, 422, "/slug"),
        ({"slug": "lаb"}, 422, "/slug"),
        ({"slug": "a.b"}, 422, "/slug"),
        ({"slug": "billing"}, 409, "/slug"),
        ({"slug": "sandbox"}, 409, "/slug"),
        ({"slug": "uaol"}, 409, "/slug"),
        ({"offer": {"price_micro": -1}}, 422, "/offer/price_micro"),
        ({"offer": {"timeout_s": 9999}}, 422, "/offer/timeout_s"),
        ({"offer": {"calls_per_minute": 0}}, 422, "/offer/calls_per_minute"),
        ({"offer": {"tools": {"bad name": {}}}}, 422, "/offer/tools/bad name/[key]"),
        ({"server": []}, 422, "/server"),
        ({"server": {"name": "x\u0000"}}, 422, "/server/name"),
        ({"values": {"a": 5}}, 422, "/values/a"),
        ({"more": 1}, 422, "/more"),
        ({"server": simple("https://uaol.example/mcp")}, 422, "/server/remotes/0/url"),
        ({"server": simple("https://user@x.example/")}, 422, "/server/remotes/0/url"),
    ],
)
async def test_bad_registrations(
    door: Door, world: Place, change: dict[str, Any], status: int, pointer: str
) -> None:
    body = {"slug": "lab", "server": simple("https://lab.example.org/mcp")} | change
    problem = await door.post(world.alice, SERVERS, body, status)
    assert problem["details"]["pointer"] == pointer
    assert (await door.get(world.alice, SERVERS))["servers"] == []


async def test_another_tenant_sees_and_changes_nothing(
    door: Door, world: Place, upstream: Upstream
) -> None:
    await register(door, world.alice, upstream.url)
    body = {"server": simple(upstream.url, name="io.github.test/lab")}
    for method, end, given in (
        ("GET", "", None),
        ("PUT", "", body),
        ("POST", "/submit", {}),
        ("POST", "/withdraw", None),
        ("PUT", "/offer", {"price_micro": 1}),
        ("PUT", "/deprecation", {"message": "Gone."}),
        ("GET", "/versions", None),
        ("GET", "/diff", None),
    ):
        problem = await door.send(world.bob, method, LAB + end, given, 404)
        assert problem["code"] == "not_found"
    for end, given in (
        ("/approve", None),
        ("/disable", {"reason": "x"}),
        ("/send-back", {"reason": "x"}),
    ):
        for who in (world.alice, world.bob):
            assert (await door.post(who, LAB + end, given, 403))["code"] == "forbidden"
    assert (await door.get(world.bob, SERVERS))["servers"] == []
    everyones = await door.get(world.bob, f"{SERVERS}?everyones=true", 403)
    assert everyones["code"] == "forbidden"
    seen = await door.get(world.operator, f"{SERVERS}?everyones=true&status=Draft")
    assert [one["slug"] for one in seen["servers"]] == ["lab"]
    assert (await door.get(world.alice, LAB))["newest"]["status"] == "Draft"


async def test_slugs_and_names_are_taken_once(door: Door, world: Place) -> None:
    url = "https://lab.example.org/mcp"
    await register(door, world.alice, url, "my-lab")
    for slug, name, pointer in (
        ("my-lab", "io.github.bob/other", "/slug"),
        ("my_lab", "io.github.bob/other", "/slug"),
        ("mylab", "io.github.bob/other", "/slug"),
        ("other", "IO.github.test/my-lab", "/server/name"),
    ):
        body = {"slug": slug, "server": simple(url, name=name)}
        problem = await door.post(world.bob, SERVERS, body, 409)
        assert (problem["code"], problem["details"]["pointer"]) == ("conflict", pointer)


async def test_versions_are_immutable(door: Door, world: Place, upstream: Upstream) -> None:
    await register(door, world.alice, upstream.url)
    document = simple(upstream.url, name="io.github.test/lab")
    assert (await door.post(world.alice, f"{LAB}/withdraw", status=409))["code"] == "conflict"
    await door.post(world.alice, f"{LAB}/submit", {})
    for method, end, body in (("PUT", "", {"server": document}), ("POST", "/submit", {})):
        problem = await door.send(world.alice, method, LAB + end, body, 409)
        assert problem["code"] == "conflict"
    await door.post(world.alice, f"{LAB}/withdraw")
    described = document | {"description": "Better."}
    edited = await door.put(world.alice, LAB, {"server": described})
    assert edited["newest"]["server"]["description"] == "Better."
    await door.post(world.alice, f"{LAB}/submit", {})
    await door.post(world.operator, f"{LAB}/approve")
    problem = await door.put(world.alice, LAB, {"server": document}, 409)
    assert problem["details"]["pointer"] == "/server/version"
    other = document | {"name": "io.github.test/renamed", "version": "1.1.0"}
    problem = await door.put(world.alice, LAB, {"server": other}, 422)
    assert problem["details"]["pointer"] == "/server/name"
    assert (await door.post(world.operator, f"{LAB}/approve", status=409))["code"] == "conflict"


async def test_a_version_is_sent_back_with_a_reason(
    door: Door, world: Place, upstream: Upstream
) -> None:
    await register(door, world.alice, upstream.url)
    await door.post(world.alice, f"{LAB}/submit", {})
    await door.post(world.operator, f"{LAB}/send-back", {"reason": ""}, 422)
    back = await door.post(world.operator, f"{LAB}/send-back", {"reason": "Describe it."})
    assert (back["status"], back["newest"]["status"]) == ("Draft", "Draft")
    assert (await door.get(world.alice, LAB))["newest"]["reason"] == "Describe it."
    await world.relay()
    (notice,) = (await door.get(world.alice, "/v1/registry/notices"))["notices"]
    assert notice["details"] == {"version": "1.0.0", "reason": "Describe it."}
    await door.post(world.alice, f"{LAB}/submit", {})
    assert (await door.post(world.operator, f"{LAB}/approve"))["status"] == "Approved"


async def test_a_refused_server_is_approved_by_a_new_version_only(
    door: Door, world: Place, upstream: Upstream
) -> None:
    await register(door, world.alice, upstream.url)
    await door.post(world.alice, f"{LAB}/submit", {})
    await door.post(world.operator, f"{LAB}/disable", {"reason": "No."})
    body = {"server": simple(upstream.url, "2.0.0", name="io.github.test/lab")}
    edited = await door.put(world.alice, LAB, body)
    assert (edited["status"], edited["newest"]["status"]) == ("Disabled", "Draft")
    assert (await door.post(world.operator, f"{LAB}/approve", status=409))["code"] == "conflict"
    await door.post(world.alice, f"{LAB}/submit", {})
    assert (await door.get(world.alice, LAB))["status"] == "Disabled"
    assert (await door.post(world.operator, f"{LAB}/approve"))["approved"] == "2.0.0"


async def test_a_server_that_cannot_be_listed_is_not_submitted(door: Door, world: Place) -> None:
    with port_of_nobody() as port:
        await register(door, world.alice, f"http://127.0.0.1:{port}/mcp")
        problem = await door.post(world.alice, f"{LAB}/submit", {}, 502)
    assert problem["code"] == "tool_server_down"
    assert (await door.get(world.alice, LAB))["status"] == "Draft"


async def test_a_server_without_tools_is_not_submitted(door: Door, world: Place) -> None:
    empty = Upstream()
    empty.tools = {}
    async with empty.serving():
        await register(door, world.alice, empty.url)
        assert (await door.post(world.alice, f"{LAB}/submit", {}, 409))["code"] == "conflict"


async def test_a_secret_is_used_once_for_the_look_and_kept_nowhere(
    door: Door, world: Place, upstream: Upstream
) -> None:
    headers = [{"name": "X-Api-Key", "isSecret": True, "isRequired": True}]
    remote = {"type": "streamable-http", "url": upstream.url, "headers": headers}
    document = simple(upstream.url, name="io.github.test/lab") | {"remotes": [remote]}
    await door.post(world.alice, SERVERS, {"slug": "lab", "server": document}, 201)
    unknown = {"headers": {"X-Other": "s3cret"}}
    problem = await door.post(world.alice, f"{LAB}/submit", unknown, 422)
    assert (problem["code"], "s3cret" in str(problem)) == ("unknown_field", False)
    broken = {"headers": {"X-Api-Key": "s3cret\r\nX: y"}}
    problem = await door.post(world.alice, f"{LAB}/submit", broken, 422)
    assert "s3cret" not in str(problem)
    shown = await door.post(world.alice, f"{LAB}/submit", {"headers": {"x-api-key": "s3cret"}})
    assert all(request.get("x-api-key") == "s3cret" for request in upstream.requests)
    assert "s3cret" not in str(shown)
    async with world.services.database.begin(world.alice.principal.elevated()) as uow:
        row = await uow.execute(
            "select cast(v as text) || cast(s as text) from app.mcp_server_versions v"
            " join app.mcp_servers s using (server_id)"
        )
        assert "s3cret" not in row.scalar_one()


async def test_deprecation_is_shown_and_its_successor_is_there(
    door: Door, world: Place, upstream: Upstream
) -> None:
    await approved(door, world, upstream.url)
    for wrong in (
        {"message": "x", "successor": "nothing"},
        {"message": "x", "successor": "lab"},
        {"successor": "lab.echo"},
    ):
        await door.put(world.alice, f"{LAB}/deprecation", wrong, 422)
    await door.put(
        world.alice, f"{SERVERS}/lab.fail/deprecation", {"message": "Bad.", "successor": "lab.echo"}
    )
    await door.put(world.alice, f"{LAB}/deprecation", {"message": "It closes in May."})
    await world.follower.run_once()
    tools = {one["name"]: one for one in (await door.get(world.bob, "/v1/tools"))["tools"]}
    assert tools["lab.echo"]["description"] == "DEPRECATED: It closes in May. Says it again."
    assert tools["lab.fail"]["description"] == ("DEPRECATED: Bad. Use lab.echo instead. Refuses.")
    await door.put(world.alice, f"{LAB}/deprecation", {})
    await world.follower.run_once()
    tools = {one["name"]: one for one in (await door.get(world.bob, "/v1/tools"))["tools"]}
    assert tools["lab.echo"]["description"] == "Says it again."
