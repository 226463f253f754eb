"""A process that charges calls until it is killed; each line it prints is what a caller knows.

`python -m tests.billing.blocks.killed_process DSN USER`: `answered ID` after an answer, `durable N`
after a flush of N answers in all.
"""

import asyncio
import sys
from uuid import UUID

from app.billing import Blocks, Terms
from app.kernel.clock import SystemClock
from app.kernel.db import Database
from tests.billing.blocks.ledger import PRICE, answered


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def run(dsn: str, user: UUID) -> None:
    blocks = Blocks(Database(dsn, pool_size=2), SystemClock(), Terms(flush_s=0.005))
    count = 0
    while True:
        promise = await blocks.promise(user, PRICE)
        answered(blocks, promise)
        count += 1
        say(f"answered {promise.call_id}")
        if count % 7 == 0:
            await blocks.flush()
            say(f"durable {count}")
        await asyncio.sleep(0)


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], UUID(sys.argv[2])))
