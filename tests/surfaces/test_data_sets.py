"""The sandbox's data sets over MCP: every signed-in user lists and reads them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi import FastAPI
from mcp.shared.exceptions import MCPError
from mcp_types import ResourceTemplateReference

from app.kernel.principal import Scope
from app.main import create_app
from app.sandbox import Volume, Volumes
from tests.surfaces.test_mcp import Era, connected, era, own_resources
from tests.surfaces.world import World, person

pytestmark = pytest.mark.anyio
__all__ = ["era"]
GENOME = "uaol://volumes/hg38"


@pytest.fixture
def app(world: World, tmp_path: Path) -> FastAPI:
    folder = tmp_path / "hg38"
    folder.mkdir()
    (folder / "genome.fa").write_text(">1\nACGT\n")
    volume = Volume("hg38", folder, "Human genome", "GRCh38", "public domain")
    return create_app(replace(world.services, volumes=Volumes([volume])))


async def test_they_are_listed_and_read(url: str, world: World, era: Era) -> None:
    async with connected(url, world.alice, era) as client:
        listed = {str(one.uri): one for one in (await client.list_resources()).resources}
        assert listed[GENOME].title == "Human genome"
        assert listed[GENOME].description == (
            "GRCh38 Licence: public domain. In the sandbox: /data/hg38."
        )
        contents = (await client.read_resource(GENOME)).contents[0]
        assert contents.mime_type == "application/json"
        assert json.loads(contents.text) == {
            "name": "hg38", "title": "Human genome", "description": "GRCh38",
            "licence": "public domain", "mounted_at": "/data/hg38",
            "files": [{"name": "genome.fa", "size": 8}], "is_complete": True,
        }  # fmt: skip


async def test_they_need_no_scope(url: str, world: World, era: Era) -> None:
    narrow = await person(world.services, "narrow@example.org", frozenset({Scope.BILLING}))
    async with connected(url, narrow, era) as client:
        assert await own_resources(client) == [GENOME]
        assert "genome.fa" in (await client.read_resource(GENOME)).contents[0].text


@pytest.mark.parametrize(
    "uri",
    [
        "uaol://volumes/", "uaol://volumes/other", "uaol://volumes/hg38/genome.fa",
        "uaol://volumes/..%2Fhg38", "uaol://volumes/hg38?x=1", "uaol://volumes/%00",
        "uaol://volumes", "uaol://volumes/HG38",
    ],
)  # fmt: skip
async def test_nothing_else_is_there(url: str, world: World, uri: str) -> None:
    async with connected(url, world.alice) as client:
        with pytest.raises(MCPError) as caught:
            await client.read_resource(uri)
        assert caught.value.data["code"] == "not_found"


async def test_the_template_completes(url: str, world: World, era: Era) -> None:
    async with connected(url, world.alice, era) as client:
        templates = (await client.list_resource_templates()).resource_templates
        [template] = [one for one in templates if one.name == "volume"]
        ref = ResourceTemplateReference(type="ref/resource", uri=template.uri_template)
        found = await client.complete(ref, {"name": "volume", "value": "HG"})
        assert found.completion.values == ["hg38"]
