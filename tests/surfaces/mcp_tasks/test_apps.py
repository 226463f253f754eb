"""The job report as a page: linked from the tools, whole in itself, with nothing unescaped."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest
from mcp.shared.exceptions import MCPError

from app.surfaces.mcp.apps.page import page
from tests.surfaces.test_mcp import Era, call, connected, era
from tests.surfaces.world import World

__all__ = ["era"]
pytestmark = pytest.mark.anyio
MIME = "text/html;profile=mcp-app"
JOB = {
    "job_id": "0199",
    "kind": "task",
    "template": "<b>x</b>",
    "status": "Success",
    "charged_micro": 2_000_000,
    "error": {"code": "c", "message": "<img src=x onerror=alert(1)>", "hint": '"><script>'},
}
EVIL = """# Report <script>alert(1)</script>

[click](javascript:alert(1)) <https://evil.example> ![far](https://evil.example/x.png)
![map](map.svg) ![data](data:text/html,x)

<iframe src="https://evil.example"></iframe>

| a | b |
| --- | --- |
| `<b>` | <i>c</i> |

[ref]: https://evil.example "x"
"""


class Seen(HTMLParser):
    """The elements and attributes of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]


def test_nothing_of_a_run_becomes_markup() -> None:
    shown = Seen(page(JOB, EVIL, {"map.svg": "data:image/svg+xml;base64,AAAA"}))
    assert shown.elements.count("script") == 1
    assert not {"iframe", "a", "b", "i", "link", "object", "embed"} & set(shown.elements)
    assert "table" in shown.elements
    sources = [value for _, name, value in shown.attributes if name in {"src", "href"}]
    assert sources == ["data:image/svg+xml;base64,AAAA"]
    assert not [name for _, name, _ in shown.attributes if name.startswith("on")]


def test_only_the_pages_own_script_may_run_and_nothing_is_loaded() -> None:
    text = page(None, None, {})
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text
    assert "default-src 'none'" in text
    assert "http:" not in text
    assert "https:" not in text
    assert not re.search(r"url\(|@import|innerHTML|eval\(|fetch\(|XMLHttpRequest", text)


async def test_tools_name_the_view_and_the_server_has_it(url: str, world: World, era: Era) -> None:
    async with connected(url, world.alice, era) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        for name in ("bio_agent.run_task", "workflow.run"):
            meta = tools[name].meta
            assert meta is not None
            uri = meta["ui"]["resourceUri"]
            contents = (await client.read_resource(uri)).contents[0]
            assert contents.mime_type == MIME
            assert contents.text.startswith("<!doctype html>")  # type: ignore[union-attr]
        listed = {str(one.uri): one for one in (await client.list_resources()).resources}
        assert listed[uri].mime_type == MIME


async def test_the_page_of_a_run(url: str, world: World, era: Era) -> None:
    async with connected(url, world.alice, era) as client:
        job = await call(
            client, "bio_agent.run_task", template="echo", input={"text": "<i>hi"}, wait=True
        )
        uri = f"ui://uaol/job/{job['job_id']}"
        text = (await client.read_resource(uri)).contents[0].text  # type: ignore[union-attr]
        assert "<h1>&lt;i&gt;hi</h1>" in text
        assert "2 credits" in text
        # The page reads the run itself the same way.
        shown = await client.read_resource(f"uaol://jobs/{job['job_id']}")
        assert '"status":"Success"' in shown.contents[0].text.replace(" ", "")  # type: ignore[union-attr]
        waiting = await call(client, "bio_agent.run_task", template="echo", input={"text": "wait"})
        text = (await client.read_resource(f"ui://uaol/job/{waiting['job_id']}")).contents[0].text  # type: ignore[union-attr]
        assert "data-state=" in text
    async with connected(url, world.bob, era) as client:
        for missing in (uri, "ui://uaol/job/x", "ui://uaol/other", "ui://evil/job"):
            with pytest.raises(MCPError) as caught:
                await client.read_resource(missing)
            assert caught.value.data["code"] == "not_found"
