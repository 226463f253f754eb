"""ContextForge on SQLite, one worker, without rate limits. Runs in its own environment.

`python -m bench.gateway.contextforge_proxy URL`
"""

import asyncio
import os
import secrets
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import uvloop

from bench.gateway.serving import listener, say

_EMAIL = "admin@example.com"
_SETTINGS = {
    "AUTH_REQUIRED": "true",
    "MCPGATEWAY_UI_ENABLED": "false",
    "MCPGATEWAY_ADMIN_API_ENABLED": "true",
    "LOG_LEVEL": "ERROR",
    "RATE_LIMITING_ENABLED": "false",
    "SSRF_ALLOW_LOCALHOST": "true",
    "SSRF_ALLOW_PRIVATE_NETWORKS": "true",
    "PLUGINS_ENABLED": "false",
    "OBSERVABILITY_ENABLED": "false",
    "PLATFORM_ADMIN_EMAIL": _EMAIL,
    "USE_STATEFUL_SESSIONS": "false",
    "JSON_RESPONSE_ENABLED": "true",
}


def _environment(folder: Path) -> None:
    os.environ.update(_SETTINGS)
    os.environ["DATABASE_URL"] = f"sqlite:///{folder / 'mcp.db'}"
    for name in ("JWT_SECRET_KEY", "AUTH_ENCRYPTION_SECRET", "PLATFORM_ADMIN_PASSWORD"):
        os.environ[name] = secrets.token_urlsafe(32) + "aA1!"


async def _register(port: int, url: str, token: str) -> str:
    """Register the upstream; the name its tool has here."""
    import httpx

    base, headers = f"http://127.0.0.1:{port}", {"Authorization": f"Bearer {token}"}
    given = {"name": "peer", "url": url, "transport": "STREAMABLEHTTP"}
    async with httpx.AsyncClient(base_url=base, headers=headers, timeout=60) as http:
        made = await http.post("/gateways", json=given)
        made.raise_for_status()
        for _ in range(100):
            tools: list[dict[str, Any]] = (await http.get("/tools")).json()
            if tools:
                return str(tools[0]["name"])
            await asyncio.sleep(0.1)
    raise RuntimeError("the upstream's tools never appeared")


async def _token() -> str:
    from mcpgateway.utils.create_jwt_token import _create_jwt_token

    return str(_create_jwt_token({"username": _EMAIL}))


async def run(url: str) -> None:
    """Serve until standard input ends."""
    import uvicorn
    from mcpgateway.main import app

    sock = listener()
    port = sock.getsockname()[1]
    config = uvicorn.Config(app, log_level="error", access_log=False, lifespan="on")
    server = uvicorn.Server(config)
    asyncio.get_running_loop().add_reader(sys.stdin, lambda: setattr(server, "should_exit", 1))
    serving = asyncio.create_task(server.serve([sock]))
    while not (server.started or serving.done()):  # noqa: ASYNC110 - uvicorn has no event
        await asyncio.sleep(0.05)
    token = await _token()
    tool = await _register(port, url, token)
    name = version("mcp-contextforge-gateway")
    say(port=port, era="legacy", tool=tool, key=token, path="/mcp/", version=name)
    await serving


def main() -> None:
    """Serve from a fresh database."""
    with tempfile.TemporaryDirectory(prefix="bench-contextforge-") as folder:
        _environment(Path(folder))
        uvloop.run(run(sys.argv[1]))


if __name__ == "__main__":
    main()
