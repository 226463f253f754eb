"""The attacks on what a cgroup limits, on bubblewrap where the server may make none.

As for an ordinary user without delegation. What is not limited then is declared, and no more.
"""

from collections.abc import AsyncIterator

import pytest

from app.sandbox import Sandbox
from app.sandbox.executors.bubblewrap import backend
from tests.sandbox.abuse.attacks import ROWS
from tests.sandbox.abuse.conftest import Run, started
from tests.sandbox.abuse.host import Host
from tests.sandbox.abuse.rows import Row
from tests.sandbox.abuse.test_rows import meet

pytestmark = pytest.mark.anyio

LIMITED = (
    "fork_loop", "memory", "memory_of_children", "inode_flood", "spin", "doubling_fork_bomb",
    "threads",
)  # fmt: skip


@pytest.fixture(scope="module")
async def sandbox(anyio_backend: str) -> AsyncIterator[Sandbox]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend, "find_groups", lambda: None)
        async with started("bubblewrap") as opened:
            yield opened


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row.name in LIMITED], ids=lambda row: row.name
)
async def test_only_what_is_declared_is_open(
    row: Row, run: Run, host: Host, sandbox: Sandbox
) -> None:
    capabilities = sandbox.capabilities()
    assert capabilities.best_effort == ("total memory", "total cpu time")
    await meet(row, row.limits, run, host, capabilities)
