"""Task templates as prompts, with the SDK's client in both eras."""

import json
import re
from uuid import uuid4

import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import PromptReference, ResourceTemplateReference

from app.agents import Templates
from app.surfaces.mcp.prompting.arguments import described, read
from tests.surfaces.mcp_tasks.raw import raw
from tests.surfaces.test_mcp import Era, call, connected, era
from tests.surfaces.world import World

__all__ = ["era"]
pytestmark = pytest.mark.anyio


def arguments_in(text: str) -> dict[str, object]:
    """The arguments that a prompt's text asks to be used."""
    found = re.search(r"```json\n(.*?)\n```", text, re.DOTALL)
    assert found is not None
    return dict(json.loads(found[1]))


async def test_a_prompt_per_template(url: str, world: World, era: Era) -> None:
    async with connected(url, world.alice, era) as client:
        prompts = {one.name: one for one in (await client.list_prompts()).prompts}
        assert list(prompts) == ["echo", "pick"]
        asked = {one.name: one.required for one in prompts["echo"].arguments or []}
        assert asked == {"text": True, "record": False, "more": False}
        shown = await client.get_prompt("pick", {"numbers": "[12, 3]"})
        text = shown.messages[0].content.text  # type: ignore[union-attr]
        assert "0.5 credits" in text
        arguments = arguments_in(text)
        assert arguments == {"template": "pick", "input": {"numbers": [12, 3]}}
        # What the prompt says can be done as it says.
        quoted = await call(client, "billing.get_quote", template="pick")
        assert quoted["amount_micro"] == 500_000
        job = await call(client, "bio_agent.run_task", **arguments)
        assert job["template"] == "pick"


async def test_files_are_ids_or_texts(url: str, world: World) -> None:
    async with connected(url, world.alice) as client:
        given = {"text": "5", "record": "ACGT", "more": "ACGTT"}
        shown = await client.get_prompt("echo", given)
        text = shown.messages[0].content.text  # type: ignore[union-attr]
        assert arguments_in(text)["input"] == {
            "text": "5",
            "record": {"text": "ACGT", "name": "record.txt"},
            "more": [{"text": "ACGTT", "name": "more.txt"}],
        }
        file_id = str(uuid4())
        shown = await client.get_prompt("echo", {"text": "5", "record": file_id, "more": ""})
        text = shown.messages[0].content.text  # type: ignore[union-attr]
        assert arguments_in(text)["input"] == {"text": "5", "record": file_id}


async def test_refusals(url: str, world: World, era: Era) -> None:
    async with connected(url, world.alice, era) as client:
        for name, arguments, code in (
            ("none", {}, "template_unknown"),
            ("echo", {}, "invalid_input"),
            ("echo", {"text": "a", "other": "b"}, "unknown_field"),
            ("pick", {"numbers": "soon"}, "invalid_input"),
            ("echo", {"text": "a\x00"}, "invalid_input"),
        ):
            with pytest.raises(MCPError) as caught:
                await client.get_prompt(name, arguments)
            assert caught.value.code == -32602
            assert caught.value.data["code"] == code, name


async def test_names_follow_the_clients_style(url: str, world: World) -> None:
    async with raw(url, world.alice) as client:
        shown = await client.result(
            "prompts/get", path="/mcp?names=underscore", name="pick", arguments={"numbers": "1"}
        )
        text = shown["messages"][0]["content"]["text"]
        assert "bio_agent_run_task" in text
        assert "bio_agent.run_task" not in text


def test_the_real_templates_arguments() -> None:
    (template,) = Templates().all()
    shown = {one["name"]: one for one in described(template.input_schema())}
    assert next(iter(shown)) == "record"
    assert "uploaded file" in shown["record"]["description"]
    assert "One of: pX330, lentiCRISPRv2." in shown["vector"]["description"]
    given = {
        "record": ">a\nACGT",
        "gene": "HBB",
        "guides": "2",
        "hdr": "true",
        "off_target_pams": '["NGG", "NAG"]',
        "variants": "62205A>G",
    }
    assert read(template.input_schema(), given) == {
        "record": {"text": ">a\nACGT", "name": "record.txt"},
        "gene": "HBB",
        "guides": 2,
        "hdr": True,
        "off_target_pams": ["NGG", "NAG"],
        "variants": ["62205A>G"],
    }


async def test_completion(url: str, world: World, era: Era) -> None:
    files = "uaol://jobs/{job_id}/files/{name}"
    async with connected(url, world.alice, era) as client:
        job = await call(
            client, "bio_agent.run_task", template="echo", input={"text": "a"}, wait=True
        )
        job_id = job["job_id"]
        reference = ResourceTemplateReference(uri=files)
        found = await client.complete(reference, {"name": "job_id", "value": job_id[:5].upper()})
        assert found.completion.values == [job_id]
        found = await client.complete(reference, {"name": "job_id", "value": "zz"})
        assert (found.completion.values, found.completion.total) == ([], 0)
        known = {"job_id": job_id}
        found = await client.complete(reference, {"name": "name", "value": "r"}, known)
        assert found.completion.values == ["raw data.bin", "report.md"]
        found = await client.complete(reference, {"name": "name", "value": "rep"}, known)
        assert found.completion.values == ["report.md"]
        for reference_, argument in (
            (ResourceTemplateReference(uri="uaol://none/{x}"), "x"),
            (reference, "other"),
            (PromptReference(name="none"), "x"),
            (PromptReference(name="echo"), "other"),
        ):
            with pytest.raises(MCPError) as caught:
                await client.complete(reference_, {"name": argument, "value": ""})
            assert caught.value.code in {-32602, -32002}
    async with connected(url, world.bob, era) as client:
        found = await client.complete(reference, {"name": "job_id", "value": ""})
        assert found.completion.values == []
        found = await client.complete(reference, {"name": "name", "value": ""}, known)
        assert found.completion.values == []
