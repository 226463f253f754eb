"""FastMCP's proxy over one connected client: the peer's best settings. Runs in its own environment.

`python -m bench.gateway.fastmcp_proxy URL`
"""

import asyncio
import sys
from typing import Any

import fastmcp
import uvicorn
import uvloop
from fastmcp import Client
from fastmcp.server import create_proxy

from bench.gateway.serving import listener, say


async def run(url: str) -> None:
    """Serve until standard input ends."""
    sock = listener()
    async with Client(url) as client:
        proxy: Any = create_proxy(client, name="peer")
        app = proxy.http_app(path="/mcp", json_response=True, stateless_http=True)
        config = uvicorn.Config(app, log_level="error", access_log=False, lifespan="on")
        server = uvicorn.Server(config)
        asyncio.get_running_loop().add_reader(sys.stdin, lambda: setattr(server, "should_exit", 1))
        say(port=sock.getsockname()[1], era="modern", tool="echo", version=fastmcp.__version__)
        await server.serve([sock])


if __name__ == "__main__":
    uvloop.run(run(sys.argv[1]))
