"""What one tenant holds, brought by another: it is not there."""

import json
from typing import Any

import orjson
import pytest

from app.kernel.settings import Settings
from app.surfaces.mcp.live.requeststate import TTL_S
from app.surfaces.mcp.passthrough.states import States
from tests.books import assert_balanced
from tests.manual_clock import ManualClock
from tests.security.gateway.conftest import free
from tests.surfaces.fastpath.conftest import Far
from tests.surfaces.fastpath.test_sessions import call, sitting
from tests.surfaces.mcp_tasks.raw import KNOWS_TASKS, raw

pytestmark = pytest.mark.anyio


async def test_what_is_anothers_is_not_there(far: Far) -> None:
    """A session: its calls, its stream, its end, what was missed in it; then it goes on."""
    bob = {"authorization": far.world.bob.headers["authorization"]}
    async with sitting(far) as session:
        for method, body, more in (
            ("POST", call(), {}),
            ("POST", {"jsonrpc": "2.0", "id": 5, "method": "tools/list"}, {}),
            ("GET", b"", {}),
            ("GET", b"", {"last-event-id": "1"}),
            ("GET", b"", {"last-event-id": session.headers["mcp-session-id"]}),
            ("DELETE", b"", {}),
        ):
            answer = await session.send(body, method, **bob, **more)
            assert answer.status_code == 404, (method, answer.text)
        assert far.upstream.calls == []
        for wallet in (await far.wallet(), await far.wallet(far.world.bob)):
            assert wallet == (0, 0)
        assert (await session.send(call())).status_code == 200
    await assert_balanced(far.services.database)


async def test_a_task_of_another_is_none(far: Far) -> None:
    """Looked at, answered, cancelled by another tenant: as one that there never was."""
    async with (
        raw(far.url, far.world.alice, **KNOWS_TASKS) as alice,
        raw(far.url, far.world.bob, **KNOWS_TASKS) as bob,
    ):
        given = {"template": "echo", "input": {"text": "wait"}}
        made = await alice.call("bio_agent.run_task", **given)
        task_id = made["taskId"]
        unknown = await bob.error("tasks/get", taskId="018f0000-0000-7000-8000-000000000000")
        for method, more in (
            ("tasks/get", {}),
            ("tasks/cancel", {}),
            ("tasks/update", {"inputResponses": {}}),
        ):
            error = await bob.error(method, taskId=task_id, **more)
            assert error["code"] == unknown["code"], (method, error)
            assert far.world.alice.key not in json.dumps(error)
        assert (await alice.result("tasks/get", taskId=task_id))["status"] == "working"
        far.world.task.go.set()
        await alice.until(task_id, "completed")
    await assert_balanced(far.services.database)


def test_a_state_that_was_passed_through_is_good_for_a_day(settings: Settings) -> None:
    clock = ManualClock()
    states = States(settings, clock)
    place = ("far", "tools/call", "echo")
    sealed = states.seal("the server's own", "alice", *place)
    assert "own" not in sealed
    assert states.open(sealed, "alice", *place) == "the server's own"
    others: list[tuple[Any, ...]] = [
        ("bob", *place),
        ("alice", "near", "tools/call", "echo"),
        ("alice", "far", "tools/call", "free"),
        ("alice", "fartools/call", "echo", ""),
    ]
    for other in others:
        assert states.open(sealed, *other) is None
    other_end = sealed[:-2] + ("BA" if sealed[-2] == "A" else "AA")
    for broken in ("", "x", sealed[:-1], other_end, sealed + "A"):
        assert states.open(broken, "alice", *place) is None
    clock.advance(TTL_S)
    assert states.open(sealed, "alice", *place) is not None
    clock.advance(2)
    assert states.open(sealed, "alice", *place) is None


async def test_a_made_up_state_is_refused(far: Far) -> None:
    """At the common door too; nothing is called with it."""
    async with raw(far.url, far.world.alice, elicitation={"form": {}}) as alice:
        params = {"name": "far.echo", "arguments": {"text": "hi"}, "requestState": "v1.AAAA"}
        answer = await alice.post("tools/call", params | {"inputResponses": {"a": {}}})
        assert orjson.loads(answer.content)["error"]["code"] == -32602
    await free(far)
