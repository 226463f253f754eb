"""The how-tos are right: every block parses, and what can be used is used on a running platform."""

import json
import re
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

from app.cli.serve import client_configurations
from app.kernel.settings import Settings
from tests.conformance import howto
from tests.conformance.node.runtime import Node
from tests.conformance.platform import ORIGIN, SERVER, Platform

pytestmark = pytest.mark.anyio
FOREIGN = "https://elsewhere.example"
PLAIN_TOOL = "test_simple_text"
DRIVER = """
import { GET } from "./app/api/wallet/route.ts";
console.log(JSON.stringify(await (await GET()).json()));
"""


async def _tools(url: str, headers: dict[str, str]) -> set[str]:
    async with (
        httpx2.AsyncClient(headers=headers, timeout=30) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        await client.call_tool(_callable(url), {})
        return {tool.name for tool in (await client.list_tools()).tools}


def _callable(url: str) -> str:
    return PLAIN_TOOL if url.endswith(SERVER) else f"{SERVER}.{PLAIN_TOOL}"


def _here(url: str, platform: Platform) -> str:
    assert url.startswith(howto.LOCAL), url
    return url.replace(howto.LOCAL, platform.url).replace("/servers/sequence", f"/servers/{SERVER}")


def test_there_is_a_page_for_each_client() -> None:
    pages = {path.stem for path in howto.FOLDER.glob("*.md")}
    assert pages - {"compose", "kubernetes"} == set(howto.PAGES), "these are no clients of MCP"


@pytest.mark.parametrize("page", howto.PAGES)
def test_every_block_says_its_language_or_is_a_command(page: str) -> None:
    assert howto.blocks(page)
    for block in howto.blocks(page):
        assert block.language in ("json", "ts", ""), block
        assert block.language or re.match(r"(npm|UAOL_\w+=)", block.text), block


async def test_cursors_configuration(platform: Platform) -> None:
    for document in howto.documents("cursor"):
        (server,) = howto.filled(document, {"env:UAOL_API_KEY": platform.key})[
            "mcpServers"
        ].values()
        url = _here(server["url"], platform)
        assert _callable(url) in await _tools(url, server["headers"])


async def test_vs_codes_configuration(platform: Platform) -> None:
    (document,) = howto.documents("vscode")
    places = {f"input:{one['id']}": platform.key for one in document["inputs"] if one["password"]}
    server = howto.filled(document["servers"], places)["uaol"]
    assert server["type"] == "http"
    url = _here(server["url"], platform)
    assert _callable(url) in await _tools(url, server["headers"])


async def test_claude_desktops_configuration(node: Node, platform: Platform) -> None:
    server = _desktop(platform)
    yes, package, *arguments = server["args"]
    assert (server["command"], yes, package) == ("npx", "-y", "mcp-remote")
    program = StdioServerParameters(
        command=str(node.binary),
        args=[str(node.program(package, package)), *arguments],
        env={"HOME": str(node.folder)} | server["env"],
    )
    async with Client(stdio_client(program)) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        result = await client.call_tool(_callable(platform.mcp), {})
    assert _callable(platform.mcp) in names
    assert not result.is_error


def _desktop(platform: Platform) -> dict[str, Any]:
    (document,) = howto.documents("claude-desktop")
    server: dict[str, Any] = document["mcpServers"]["uaol"]
    server["args"] = [
        _here(one, platform) if one.startswith("http:") else one for one in server["args"]
    ]
    (name,) = server["env"]
    assert f"Authorization:${{{name}}}" in server["args"]
    server["env"][name] = server["env"][name].replace("YOUR_KEY", platform.key)
    return server


def test_what_uaol_up_prints_agrees() -> None:
    printed = client_configurations(f"{howto.LOCAL}/mcp", "KEY")
    by_file = {name.partition(" ")[0]: json.loads(said) for name, said in printed.items()}
    (cursor, _), (code,) = howto.documents("cursor"), howto.documents("vscode")
    (desktop,) = howto.documents("claude-desktop")
    assert by_file["Claude"] == json.loads(json.dumps(desktop).replace("YOUR_KEY", "KEY"))
    filled = howto.filled(cursor, {"env:UAOL_API_KEY": "KEY"})
    assert by_file["Cursor"] == filled
    assert by_file["VS"]["servers"] == howto.filled(code["servers"], {"input:uaol-key": "KEY"})


async def test_the_front_end_runs(node: Node, platform: Platform, tmp_path: Path) -> None:
    (tmp_path / "node_modules").symlink_to(node.folder / "node_modules")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    for name, said in howto.files("nextjs").items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        # Next.js resolves `@/`; Node, which runs it here, does not.
        to_root = "../" * (len(Path(name).parts) - 1)
        file.write_text(re.sub(r'"@/([\w/]+)"', rf'"{to_root}\1.ts"', said))
    driver = tmp_path / "driver.ts"
    driver.write_text(DRIVER)
    env = {"UAOL_URL": platform.mcp, "UAOL_API_KEY": platform.key}
    ended = await node.run("--experimental-strip-types", driver, env=env, cwd=tmp_path)
    assert ended.code == 0, ended
    assert json.loads(ended.out)["available_micro"] > 0


def test_the_front_ends_settings_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = [one for one in howto.blocks("nextjs", "") if one.text.startswith("UAOL_")]
    for line in block.text.splitlines():
        name, _, value = line.partition("=")
        monkeypatch.setenv(name, value.strip("'"))
    settings = Settings()
    assert "https://my-app.lovable.app" in settings.allowed_origins
    assert settings.public_url == "https://uaol.example"


async def _preflight(http: httpx2.AsyncClient, origin: str, path: str) -> httpx2.Response:
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": _allowed_headers(),
    }
    return await http.options(path, headers=asked)


def _allowed_headers() -> str:
    """The headers that the page says a browser may send."""
    said = (howto.FOLDER / "nextjs.md").read_text(encoding="utf-8")
    match = re.search(r"the\s+headers\s+(`Authorization`.*?);", said, re.DOTALL)
    assert match
    names = re.findall(r"`([\w-]+)\*?`", match[1])
    return ", ".join("Mcp-Param-Region" if name == "Mcp-Param-" else name for name in names)


@pytest.mark.parametrize("path", ["/mcp", f"/mcp/servers/{SERVER}"])
async def test_a_browser_of_an_allowed_origin_may_call(platform: Platform, path: str) -> None:
    async with httpx2.AsyncClient(base_url=platform.url) as http:
        allowed = await _preflight(http, ORIGIN, path)
        refused = await _preflight(http, FOREIGN, path)
        called = await http.post(path, headers={"Origin": ORIGIN, **platform.headers}, json={})
        foreign = await http.post(path, headers={"Origin": FOREIGN, **platform.headers}, json={})
    assert allowed.status_code == 200, allowed.text
    assert allowed.headers["access-control-allow-origin"] == ORIGIN
    assert "access-control-allow-origin" not in refused.headers
    assert called.headers["access-control-allow-origin"] == ORIGIN
    assert "mcp-session-id" in called.headers["access-control-expose-headers"].lower()
    assert foreign.status_code == 403
