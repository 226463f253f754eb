"""Programs for containers that need no runner, and waiting for what others do."""

import asyncio
import time
from collections.abc import Callable

_PYTHON = ["/usr/bin/python3", "-I", "-S", "-u", "-c"]
ECHO = [*_PYTHON, "import os\nwhile data := os.read(0, 65536): os.write(1, data)"]
FLOOD = [
    *_PYTHON,
    "import os, sys\nos.read(0, 2)\nfor _ in range(1024): sys.stdout.buffer.write(bytes(65536))",
]


async def until(condition: Callable[[], bool]) -> None:
    """Wait until it holds; fail when it does not come to that."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
