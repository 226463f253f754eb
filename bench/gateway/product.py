"""The product itself, with a user who has credits: `python -m bench.gateway.product UPSTREAM`.

The settings come from the environment as ever; nothing is switched off, only limits are raised.
Its first line has the address and the key.
"""

import argparse
import asyncio
import os
import sys
import tempfile
from pathlib import Path

import uvloop

from app.billing import to_micro
from app.kernel.memory import settle_memory
from app.kernel.principal import SERVICE, USER_SCOPES
from app.kernel.settings import Settings
from app.main import create_app
from app.surfaces.listening import bind, listening
from app.surfaces.services import Services
from app.wiring import running
from bench.gateway.serving import say

_CONFIG = """
mcp_servers:
  echo:
    url: {url}
    trusted: true
    price: 0.001
"""


async def _key(services: Services, number: int) -> str:
    async with services.database.begin(SERVICE) as uow:
        user = await services.auth.ensure_user(uow, f"bench{number}@example.org")
        await services.billing.open_wallet(uow, user.user_id)
        await services.billing.grant(
            uow, user.user_id, to_micro(10_000_000), cause=f"bench:{number}"
        )
        issued = await services.auth.issue_key(
            uow, user.user_id, name="bench", scopes=frozenset(USER_SCOPES)
        )
    return issued.secret


async def run(upstream: str, home: Path, users: int) -> None:
    """Serve until standard input ends."""
    config = home / "mcp_config.yaml"
    config.write_text(_CONFIG.format(url=upstream))
    settings = Settings(
        home=home,
        mcp_config=config,
        calls_per_minute=10**9,
        tool_calls_per_minute=10**9,
        log_level="ERROR",
    )
    stop = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, stop.set)
    async with (
        running(settings, has_worker=False) as services,
        listening(create_app(services), settings, bind("127.0.0.1", 0)) as url,
    ):
        settle_memory()
        keys = [await _key(services, number) for number in range(users)]
        say(port=int(url.rpartition(":")[2]), key=keys[0], keys=keys)
        await stop.wait()


def main() -> None:
    """Serve from a fresh hub."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("upstream")
    parser.add_argument("--users", type=int, default=1)
    args = parser.parse_args()
    os.environ.pop("DATABASE_URL", None)
    with tempfile.TemporaryDirectory(prefix="uaol-bench-") as home:
        uvloop.run(run(args.upstream, Path(home), args.users))


if __name__ == "__main__":
    main()
