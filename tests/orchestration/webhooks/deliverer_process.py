"""A deliverer in a process of its own, to be killed: `python -m ... <dsn>`."""

import asyncio
import sys

from app.kernel.clock import SystemClock
from app.kernel.crypto import key_id
from app.kernel.db import Database
from app.kernel.egress import GuardedTransport
from app.kernel.metrics import Metrics
from app.kernel.wakeups import Wakeups
from app.orchestration import Deliverer, Sender

KEY = b"w" * 32


async def main(dsn: str) -> None:
    sender = Sender(GuardedTransport(allow_private=True), KEY, SystemClock(), total_s=60)
    database = Database(dsn, pool_size=2)
    await Deliverer(database, Wakeups(None), sender, Metrics(), key_id(KEY)).run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
