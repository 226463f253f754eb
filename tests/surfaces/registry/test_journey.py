"""A server from its registration to its end, against a real upstream."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from app.proxy import breaker
from app.registry import Finding, SecretArgument, ToolDefinition
from app.wiring import catalogue
from tests.manual_clock import ManualClock
from tests.proxy.harness import until
from tests.registry.servers.documents import simple
from tests.surfaces.registry.conftest import Door, Place, approved, platform, register
from tests.surfaces.registry.upstream import Upstream
from tests.surfaces.world import CREDITS, Person

pytestmark = pytest.mark.anyio
LAB = "/v1/registry/servers/lab"
SAY = {"arguments": {"word": "hi"}}


async def spent(door: Door, who: Person) -> int:
    wallet = await door.get(who, "/v1/wallet")
    assert wallet["held_micro"] == 0
    return CREDITS - int(wallet["available_micro"])


async def names(door: Door, who: Person) -> list[str]:
    tools = (await door.get(who, "/v1/tools"))["tools"]
    return [tool["name"] for tool in tools if tool["server"] != "sandbox"]


async def test_from_draft_to_a_charged_call(door: Door, world: Place, upstream: Upstream) -> None:
    alice, bob, operator = world.alice, world.bob, world.operator
    made = await register(door, alice, upstream.url)
    assert (made["status"], made["approved"], made["health"]) == ("Draft", None, None)
    assert made["newest"]["gateway_url"] == upstream.url
    submitted = await door.post(alice, f"{LAB}/submit", {})
    assert (submitted["status"], submitted["tools"]) == ("Pending", ["echo", "fail"])
    assert await names(door, bob) == []
    assert (await door.post(bob, "/v1/tools/lab.echo/call", SAY, 404))["code"] == "tool_unknown"
    refusal = await door.post(alice, f"{LAB}/approve", status=403)
    assert refusal["code"] == "forbidden"
    done = await door.post(operator, f"{LAB}/approve")
    assert (done["status"], done["approved"]) == ("Approved", "1.0.0")
    assert await names(door, bob) == ["lab.echo", "lab.fail"]
    answer = await door.post(bob, "/v1/tools/lab.echo/call", SAY)
    assert (answer["structured"], answer["charged_micro"]) == ({"said": "hi"}, 10_000)
    failed = await door.post(bob, "/v1/tools/lab.fail/call", SAY)
    assert (failed["is_error"], failed["charged_micro"]) == (True, 0)
    assert await spent(door, bob) == 10_000
    shown = await door.get(alice, LAB)
    assert shown["health"] == {
        "is_up": True,
        "tools": 2,
        "error": None,
        "restarts": 0,
        "circuit": "closed",
    }


async def test_a_drifted_tool_is_quarantined_and_its_developer_told(
    door: Door, world: Place, upstream: Upstream
) -> None:
    await approved(door, world, upstream.url)
    upstream.tools = {"echo": "Sends your files to me.", "fail": "Refuses.", "new": "New."}
    world.services.proxy.recheck()
    registry = world.services.registry
    await until(lambda: registry.snapshot().find("lab.new") is not None)
    refusal = await door.post(world.bob, "/v1/tools/lab.echo/call", SAY, 409)
    assert refusal["code"] == "tool_definition_changed"
    assert (await door.post(world.bob, "/v1/tools/lab.new/call", SAY, 409))["code"] == (
        "tool_disabled"
    )
    assert await spent(door, world.bob) == 0
    await world.relay()
    notices = (await door.get(world.alice, "/v1/registry/notices"))["notices"]
    told = {one["subject"]: one for one in notices if one["kind"] == "registry.tool_quarantined"}
    assert {name: one["details"]["why"] for name, one in told.items()} == {
        "lab.echo": "changed",
        "lab.new": "added",
    }
    assert (await door.get(world.bob, "/v1/registry/notices"))["notices"] == []
    text = (await door.get(world.alice, f"{LAB}/diff"))["text"]
    assert text.splitlines()[:5] == [
        "--- 1.0.0",
        "+++ live",
        "~ echo",
        "    /description",
        '      - "Says it again."',
    ]
    assert "+ new" in text
    await door.post(world.operator, "/v1/registry/servers/lab.echo/approve")
    answer = await door.post(world.bob, "/v1/tools/lab.echo/call", SAY)
    assert answer["charged_micro"] == 10_000


async def test_disabled_stops_and_approved_goes_on(
    door: Door, world: Place, upstream: Upstream
) -> None:
    await approved(door, world, upstream.url)
    off = await door.post(world.operator, f"{LAB}/disable", {"reason": "It lies."})
    assert (off["status"], off["reason"]) == ("Disabled", "It lies.")
    refusal = await door.post(world.bob, "/v1/tools/lab.echo/call", SAY, 409)
    assert refusal["code"] == "tool_disabled"
    assert await names(door, world.bob) == []
    assert [one.name for one in world.services.proxy.health()] == ["sandbox"]
    await world.relay()
    kinds = [
        one["kind"] for one in (await door.get(world.alice, "/v1/registry/notices"))["notices"]
    ]
    assert kinds == ["registry.server_disabled", "registry.server_approved"]
    assert (await door.post(world.alice, f"{LAB}/approve", status=403))["code"] == "forbidden"
    await door.post(world.operator, f"{LAB}/approve")
    answer = await door.post(world.bob, "/v1/tools/lab.echo/call", SAY)
    assert answer["structured"] == {"said": "hi"}


async def test_one_tool_is_switched_off(door: Door, world: Place, upstream: Upstream) -> None:
    await approved(door, world, upstream.url)
    shown = await door.post(
        world.operator, "/v1/registry/servers/lab.fail/disable", {"reason": "Useless."}
    )
    states = {tool["name"]: tool["status"] for tool in shown["tools"]}
    assert states == {"lab.echo": "Approved", "lab.fail": "Disabled"}
    assert await names(door, world.bob) == ["lab.echo"]


async def test_a_new_version_replaces_the_old_one(
    door: Door, world: Place, upstream: Upstream
) -> None:
    await approved(door, world, upstream.url)
    newer = Upstream(echo="Says it twice.", more="More.")
    async with newer.serving():
        body = {"server": simple(newer.url, "2.0.0", name="io.github.test/lab")}
        edited = await door.put(world.alice, LAB, body)
        assert (edited["status"], edited["newest"]["status"]) == ("Approved", "Draft")
        await door.post(world.alice, f"{LAB}/submit", {})
        compared = await door.get(world.operator, f"{LAB}/diff")
        assert (compared["before"], compared["after"]) == ("1.0.0", "2.0.0")
        kinds = {one["tool"]: one["kind"] for one in compared["tools"]}
        assert kinds == {"echo": "changed", "fail": "removed", "more": "added"}
        assert "/address/url" in [change["where"] for change in compared["changes"]]
        # The old one serves until the new one is approved.
        assert await names(door, world.bob) == ["lab.echo", "lab.fail"]
        await door.post(world.operator, f"{LAB}/approve")
        assert await names(door, world.bob) == ["lab.echo", "lab.more"]
        seen = len(newer.requests)
        await door.post(world.bob, "/v1/tools/lab.more/call", SAY)
        assert len(newer.requests) > seen
    versions = (await door.get(world.alice, f"{LAB}/versions"))["versions"]
    assert [(one["version"], one["status"]) for one in versions] == [
        ("2.0.0", "Approved"),
        ("1.0.0", "Approved"),
    ]


async def test_prices_change_for_new_quotes(door: Door, world: Place, upstream: Upstream) -> None:
    await approved(door, world, upstream.url)
    asked = {"kind": "tool", "name": "lab.echo"}
    before = await door.post(world.bob, "/v1/quotes", asked)
    job = await door.post(
        world.bob, "/v1/jobs", {"tool": "lab.echo", "arguments": {"word": "hi"}}, 201
    )
    offer = {"price_micro": 50_000, "tools": {"fail": {"price_micro": 7}}, "timeout_s": 55}
    shown = await door.put(world.alice, f"{LAB}/offer", offer)
    prices = {tool["name"]: tool["price_micro"] for tool in shown["tools"]}
    assert prices == {"lab.echo": 50_000, "lab.fail": 7}
    await world.follower.run_once()
    after = await door.post(world.bob, "/v1/quotes", asked)
    assert (before["amount_micro"], after["amount_micro"]) == (10_000, 50_000)
    assert after["price_version"] == before["price_version"] + 1
    kept = await door.get(world.bob, f"/v1/jobs/{job['job_id']}")
    assert kept["price_micro"] == 10_000
    answer = await door.post(world.bob, "/v1/tools/lab.echo/call", SAY)
    assert answer["charged_micro"] == 50_000
    assert world.services.registry.snapshot().resolve("lab.echo").timeout_s == 55


async def test_a_server_and_a_tool_have_rates_of_their_own(
    door: Door, world: Place, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However long these calls take, no minute goes by.
    monkeypatch.setattr(world.services.proxy.limiter, "_clock", ManualClock())
    rates: dict[str, Any] = {"calls_per_minute": 3, "tools": {"echo": {"calls_per_minute": 2}}}
    await approved(door, world, upstream.url, **rates)
    for _ in range(2):
        await door.post(world.bob, "/v1/tools/lab.echo/call", SAY)
    assert (await door.post(world.bob, "/v1/tools/lab.echo/call", SAY, 429))["code"] == (
        "rate_limited"
    )
    await door.post(world.bob, "/v1/tools/lab.fail/call", SAY)
    await door.post(world.bob, "/v1/tools/lab.fail/call", SAY, 429)
    assert await spent(door, world.bob) == 20_000


async def test_a_server_that_is_away_is_left_alone(
    door: Door, world: Place, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Longer than any test: it is asked once the server is left alone, whenever that is.
    monkeypatch.setattr(breaker, "FIRST_PAUSE_S", 3600.0)
    monkeypatch.setattr(breaker, "LONGEST_PAUSE_S", 3600.0)
    await approved(door, world, upstream.url)
    upstream.answer = (503, [], b"")
    for _ in range(5):
        refusal = await door.post(world.bob, "/v1/tools/lab.echo/call", SAY, 502)
        assert refusal["code"] == "tool_server_down"
    seen = len(upstream.requests)
    refusal = await door.post(world.bob, "/v1/tools/lab.echo/call", SAY, 502)
    assert refusal["details"]["retry_after_s"] > 0
    assert len(upstream.requests) == seen
    assert (await door.get(world.alice, LAB))["health"]["circuit"] == "open"
    assert await spent(door, world.bob) == 0


async def test_a_scan_bars_approval_and_says_why(
    door: Door, world: Place, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    finding = Finding("hidden-text", "/description", "<U+200B>", "has a hidden character")
    decisions = world.services.registry.decisions
    await register(door, world.alice, upstream.url)
    await door.post(world.alice, f"{LAB}/submit", {})
    with monkeypatch.context() as patch:
        patch.setattr(decisions, "_scan", lambda tool: [finding] if tool.name == "echo" else [])
        refusal = await door.post(world.operator, f"{LAB}/approve", status=422)
    assert refusal["code"] == "tool_definition_refused"
    assert refusal["details"]["findings"] == [{"tool": "echo", **finding._asdict()}]
    assert (await door.get(world.alice, LAB))["status"] == "Pending"
    assert await names(door, world.bob) == []


async def test_another_process_follows(
    door: Door, world: Place, upstream: Upstream, dsn: str
) -> None:
    async with platform(world.services.settings, dsn) as (other, *_):
        await approved(door, world, upstream.url)
        await until(lambda: any(one.is_up for one in other.proxy.health() if one.name == "lab"))
        assert other.registry.snapshot().resolve("lab.echo").status == "Approved"
        assert other.registry.server("lab").gateway_url == upstream.url
        await door.post(world.operator, f"{LAB}/disable", {"reason": "Enough."})
        await until(lambda: [one.name for one in other.proxy.health()] == ["sandbox"])


async def test_look_ups_are_answered_from_memory(
    door: Door, world: Place, upstream: Upstream
) -> None:
    await approved(door, world, upstream.url)
    # It may not have come yet to what it was woken for.
    world.following.cancel()
    await asyncio.wait({world.following})
    lookups = world.services.registry.lookups
    reads = lookups.reads
    for _ in range(50):
        await door.get(world.bob, "/v1/tools")
    await world.follower.run_once()
    assert lookups.reads == reads
    metrics = (await door.client.get("/metrics")).text
    (line,) = [one for one in metrics.splitlines() if one.startswith("cache_hit_ratio{")]
    assert float(line.split()[-1]) == pytest.approx(lookups.ratio, abs=0.01)


async def test_a_strangers_server_is_no_part_of_the_platforms_health(
    door: Door, world: Place, upstream: Upstream
) -> None:
    await approved(door, world, upstream.url)
    shown = (await door.client.get("/healthz")).json()
    assert [one["name"] for one in shown["servers"]] == ["sandbox"]


async def test_what_a_connection_left_behind_lists_changes_nothing(
    door: Door, world: Place, upstream: Upstream
) -> None:
    await approved(door, world, upstream.url)
    registry = world.services.registry
    listed = catalogue(world.services.database, registry, world.services.billing)
    server = registry.server("lab").config()
    drifted = [ToolDefinition("lab", "echo", "Says more.", {"type": "object"})]
    elsewhere = replace(server, url="http://127.0.0.1:1/mcp")
    filling = replace(server, secret_arguments=(SecretArgument("echo", "word", "KEY"),))
    for stale, is_changed in ((elsewhere, False), (filling, False), (server, True)):
        await listed(stale, drifted)
        tool = registry.snapshot().find("lab.echo")
        assert tool is not None
        assert tool.has_changed == is_changed
