"""Two processes over one database: what happens in one is told, and goes on, in the other."""

import asyncio

import mcp_types as types
import pytest
from mcp.server.subscriptions import ResourcesListChanged, ResourceUpdated

from app.kernel.principal import SERVICE
from tests.surfaces.mcp_listen.clients import Inbox, connected, subscribe, until
from tests.surfaces.mcp_listen.test_asking import ARGUMENTS, RUN, Person, accept
from tests.surfaces.test_mcp import call
from tests.surfaces.world import TOOL_PRICE, World

pytestmark = pytest.mark.anyio


async def test_a_run_of_one_process_is_told_by_the_other(
    url: str, elsewhere: str, world: World
) -> None:
    async with (
        connected(url, world.alice) as client,
        connected(elsewhere, world.alice) as other,
        asyncio.timeout(60),
    ):
        async with other.listen(resources_list_changed=True) as lists:
            job = await call(client, "bio_agent.run_task", template="echo", input={"text": "wait"})
            assert await anext(lists) == ResourcesListChanged()
        uris = [f"uaol://jobs/{job['job_id']}/{name}" for name in ("trace", "report")]
        async with other.listen(resource_subscriptions=uris) as stream:
            world.task.go.set()
            while await anext(stream) != ResourceUpdated(uris[1]):
                pass


async def test_a_session_of_the_other_process_is_told(
    url: str, elsewhere: str, world: World
) -> None:
    inbox, services, has_stream = Inbox(), world.services, asyncio.Event()
    async with (
        connected(url, world.alice) as client,
        connected(
            elsewhere, world.alice, "legacy", has_stream=has_stream, message_handler=inbox
        ) as other,
        asyncio.timeout(60),
    ):
        await has_stream.wait()
        job = await call(client, "bio_agent.run_task", template="echo", input={"text": "wait"})
        await until(lambda: inbox.has(types.ResourceListChangedNotification))
        uri = f"uaol://jobs/{job['job_id']}/report"
        await subscribe(other, uri)
        world.task.go.set()
        await until(lambda: inbox.has(types.ResourceUpdatedNotification, uri))
    assert services.worker is not None


async def test_any_process_answers_the_next_round(url: str, elsewhere: str, world: World) -> None:
    who = Person()
    async with (
        connected(url, world.alice, elicitation_callback=who) as client,
        connected(elsewhere, world.alice, elicitation_callback=who) as other,
    ):
        first = await client.session.call_tool(RUN, ARGUMENTS, allow_input_required=True)
        assert isinstance(first, types.InputRequiredResult)
        done = await other.session.call_tool(
            RUN,
            ARGUMENTS,
            input_responses={"ask": accept(order=True)},
            request_state=first.request_state,
            allow_input_required=True,
        )
    assert isinstance(done, types.CallToolResult)
    assert done.structured_content["final_output"] == {"output": "true"}
    assert done.structured_content["charged_micro"] == 2 * TOOL_PRICE
    async with world.database.begin(SERVICE) as uow:
        rows = await uow.execute("select count(*) as jobs from app.processing_jobs")
        assert rows.one().jobs == 1
