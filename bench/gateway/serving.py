"""Serves one ASGI application on a free port until the parent ends; says so on its first line."""

import asyncio
import json
import socket
import sys
from typing import Any

import uvicorn


def listener() -> socket.socket:
    """A listening socket on a free port of the loopback."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    sock.listen(16384)
    return sock


def say(**facts: Any) -> None:
    """One line of JSON for whoever started this process."""
    print(json.dumps(facts), flush=True)


def serve(app: Any, *, has_lifespan: bool = False) -> None:
    """Serve `app`; ends when standard input does, which is when the parent is gone."""
    sock = listener()
    config = uvicorn.Config(
        app,
        log_level="error",
        access_log=False,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on" if has_lifespan else "off",
    )

    async def run() -> None:
        server = uvicorn.Server(config)
        asyncio.get_running_loop().add_reader(sys.stdin, lambda: setattr(server, "should_exit", 1))
        say(port=sock.getsockname()[1])
        await server.serve([sock])

    import uvloop

    uvloop.run(run())
