"""A run that asks a person, asked through the client that waits for it, in both eras."""

import asyncio
from typing import Any

import mcp_types as types
import pytest
from mcp.shared.exceptions import MCPError

from tests.books import assert_balanced
from tests.surfaces.flows import flow, say
from tests.surfaces.mcp_listen.clients import connected
from tests.surfaces.test_mcp import Era, call, era, refused
from tests.surfaces.test_workflows_asking import ASKING, FORM
from tests.surfaces.world import TOOL_PRICE, World

__all__ = ["era"]
pytestmark = pytest.mark.anyio
RUN = "workflow.run"
ARGUMENTS = {"workflow": ASKING, "input": "it", "wait": True}
Accepted = types.ElicitResult


class Person:
    """Answers forms one after the other, and keeps them."""

    def __init__(self, *answers: types.ElicitResult) -> None:
        self._answers = list(answers)
        self.forms: list[types.ElicitRequestFormParams] = []

    async def __call__(self, _context: Any, params: Any) -> types.ElicitResult:
        self.forms.append(params)
        return self._answers.pop(0)


def accept(**content: Any) -> types.ElicitResult:
    return types.ElicitResult(action="accept", content=content)


async def test_a_run_is_approved_where_it_is_awaited(url: str, world: World, era: Era) -> None:
    who = Person(accept(order=True, note="go"))
    async with connected(url, world.alice, era, elicitation_callback=who) as client:
        before = await call(client, "billing.get_wallet")
        done = await call(client, RUN, **ARGUMENTS)
        after = await call(client, "billing.get_wallet")
    assert (done["status"], done["final_output"]) == ("Success", {"output": "true"})
    assert before["available_micro"] - after["available_micro"] == 2 * TOOL_PRICE
    (form,) = who.forms
    assert form.message == "Order it?"
    assert form.requested_schema["properties"] == FORM["properties"]
    await assert_balanced(world.database)


async def test_a_wrong_answer_is_asked_again(url: str, world: World, era: Era) -> None:
    strict = {
        "type": "object",
        "required": ["code"],
        "properties": {"code": {"type": "string", "pattern": "^[A-Z]{3}$"}},
    }
    asking = flow(
        "${{ steps.ask.output.code }}",
        ask={"wait": {"approval": {"title": "Which?", "form": strict}}},
    )
    who = Person(accept(code="x"), accept(code="ABC"))
    async with connected(url, world.alice, era, elicitation_callback=who) as client:
        done = await call(client, RUN, workflow=asking, wait=True)
    assert done["final_output"] == {"output": "ABC"}
    assert "does not match" in who.forms[1].message


async def test_who_declines_gets_the_run_as_it_waits(url: str, world: World, era: Era) -> None:
    who = Person(types.ElicitResult(action="decline"))
    async with connected(url, world.alice, era, elicitation_callback=who) as client:
        job = await call(client, RUN, **ARGUMENTS)
        assert (job["status"], job["is_terminal"]) == ("Waiting", False)
        given = {"job_id": job["job_id"], "step": "ask", "answer": {"order": False}}
        await call(client, "workflow.answer", **given)
        trace = await call(client, "bio_agent.stream_trace", job_id=job["job_id"])
    assert trace["events"][-1]["kind"] == "job.succeeded"
    assert len(who.forms) == 1


async def test_two_questions_at_once(url: str, world: World, era: Era) -> None:
    form = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    asking = flow(
        "${{ steps.a.output.ok && steps.b.output.ok }}",
        a={"wait": {"approval": {"title": "A?", "form": form}}},
        b={"wait": {"approval": {"title": "B?", "form": form}}},
    )
    who = Person(accept(ok=True), accept(ok=True))
    async with connected(url, world.alice, era, elicitation_callback=who) as client:
        done = await call(client, RUN, workflow=asking, wait=True)
    assert done["final_output"] == {"output": True}
    assert sorted(each.message for each in who.forms) == ["A?", "B?"]


async def test_an_answer_from_elsewhere_ends_the_form(url: str, world: World) -> None:
    is_shown, is_gone = asyncio.Event(), asyncio.Event()

    async def slow(_context: Any, _params: Any) -> types.ElicitResult:
        is_shown.set()
        try:
            await asyncio.Event().wait()
        finally:
            is_gone.set()
        raise AssertionError

    async with connected(url, world.alice, "legacy", elicitation_callback=slow) as client:
        running = asyncio.create_task(call(client, RUN, **ARGUMENTS))
        async with asyncio.timeout(20):
            await is_shown.wait()
            question = (await call(client, "workflow.questions"))["questions"][0]
            given = {"job_id": question["job_id"], "step": "ask", "answer": {"order": True}}
            await call(client, "workflow.answer", **given)
            assert (await running)["status"] == "Success"
            await is_gone.wait()


async def test_who_cannot_be_asked_waits(url: str, world: World, era: Era) -> None:
    async with connected(url, world.alice, era) as client:
        job = await call(client, RUN, **ARGUMENTS, timeout_s=0.3)
        assert job["is_terminal"] is False


class TestTheState:
    """Of the modern era: what a client is handed between two rounds."""

    async def test_is_for_one_user_one_call_and_unchanged(self, url: str, world: World) -> None:
        who = Person()
        given: types.InputResponses = {"ask": accept(order=True)}
        async with (
            connected(url, world.alice, elicitation_callback=who) as alice,
            connected(url, world.bob, elicitation_callback=who) as bob,
        ):
            first = await alice.session.call_tool(RUN, ARGUMENTS, allow_input_required=True)
            assert isinstance(first, types.InputRequiredResult)
            assert first.input_requests is not None
            assert list(first.input_requests) == ["ask"]
            state = first.request_state
            assert state is not None
            assert "job" not in state
            for client, arguments, wrong in (
                (bob, ARGUMENTS, state),
                (alice, {**ARGUMENTS, "input": "other"}, state),
                (alice, ARGUMENTS, state[:-2] + ("AA" if state[-2:] != "AA" else "BB")),
                (alice, ARGUMENTS, "v1.x"),
            ):
                with pytest.raises(MCPError) as caught:
                    await client.session.call_tool(
                        RUN,
                        arguments,
                        input_responses=given,
                        request_state=wrong,
                        allow_input_required=True,
                    )
                assert caught.value.code == -32602
                assert caught.value.data == {"reason": "invalid_request_state"}
            questions = (await call(alice, "workflow.questions"))["questions"]
            assert [each["answer"] for each in questions] == [None]
            # Without an answer the question is asked again; with it the run goes on, once.
            again = await alice.session.call_tool(
                RUN, ARGUMENTS, request_state=state, allow_input_required=True
            )
            assert isinstance(again, types.InputRequiredResult)
            for _ in range(2):
                done = await alice.session.call_tool(
                    RUN,
                    ARGUMENTS,
                    input_responses=given,
                    request_state=state,
                    allow_input_required=True,
                )
                assert isinstance(done, types.CallToolResult)
                assert done.structured_content["charged_micro"] == 2 * TOOL_PRICE
            jobs = (await alice.list_resources()).resources
            assert sum(str(one.uri).endswith("/trace") for one in jobs) == 1
        await assert_balanced(world.database)

    async def test_a_failing_run_is_an_error_after_its_question(
        self, url: str, world: World
    ) -> None:
        form = {"type": "object", "properties": {}}
        asking = flow(
            ask={"wait": {"approval": {"title": "Go?", "form": form}}},
            b=say("x", "ask", tool="words.refuse"),
        )
        who = Person(accept())
        async with connected(url, world.alice, elicitation_callback=who) as client:
            failed = await refused(client, RUN, workflow=asking, wait=True)
        assert (failed["code"], failed["charged_micro"]) == ("gene_not_found", 0)
