"""Workers on other hosts: nothing but an address of the database makes them workers."""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import UUID

import pytest

from app.billing import Quote, to_micro
from app.kernel.principal import SERVICE, Principal
from app.kernel.settings import Settings
from app.orchestration import JobRequest
from app.surfaces.services import Services
from tests.books import assert_balanced
from tests.dispatch.head import Head, database_at
from tests.dispatch.hosts import Host, Network, network
from tests.faults.conftest import new_user, until
from tests.faults.worker_process import open_services, settings_of

pytestmark = pytest.mark.anyio

UAOL = Path(sys.executable).parent / "uaol"
PRICE = to_micro("0.01")
QUOTE = Quote("tool", "napping.nap", "outcome", PRICE, 1)
NAP_S = 0.05
CONFIG = f"""
mcp_servers:
  napping:
    command: [python, {Path(__file__).with_name("napping.py")}]
    env: {{HEAD: "ADDRESS"}}
    price: 0.01
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="uaol-hosts-") as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.fixture
def lan() -> Iterator[Network]:
    with network(2) as made:
        yield made


@pytest.fixture
def head(lan: Network, folder: Path) -> Iterator[Head]:
    with database_at(lan, folder / "head") as made:
        yield made


@pytest.fixture
async def services(head: Head, folder: Path) -> AsyncIterator[Services]:
    settings = Settings(**settings_of(head.local_dsn, folder / "head"))
    async with open_services(settings, head.local_dsn) as made:
        yield made
        await assert_balanced(made.database)


@pytest.fixture
def workers(lan: Network, head: Head, folder: Path) -> Iterator[None]:
    """A `uaol worker` on each host, told where the database is, with a home of its own."""
    config = folder / "mcp_config.yaml"
    config.write_text(CONFIG.replace("ADDRESS", lan.address))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("UAOL_")}
    with ExitStack() as stack:
        for host in lan.hosts:
            environment = {
                "DATABASE_URL": head.remote_dsn,
                "UAOL_HOME": str(folder / host.name),
                "UAOL_MCP_CONFIG": str(config),
                "UAOL_LANE_CAPACITY": "10",
                "UAOL_LEASE_SECONDS": "2",
                "UAOL_POLL_SECONDS": "0.2",
                "UAOL_CALLS_PER_MINUTE": "1000000",
                "UAOL_TOOL_CALLS_PER_MINUTE": "1000000",
                "UAOL_LOG_LEVEL": "WARNING",
            }
            log = stack.enter_context((folder / f"{host.name}.log").open("wb"))
            process = host.start(
                str(UAOL), "worker", env=kept | environment, stdout=log, stderr=subprocess.STDOUT
            )
            stack.callback(_end, process)
        yield


def _end(process: "subprocess.Popen[bytes]") -> None:
    # It would wait for a database that may be gone by now; how workers end is tested elsewhere.
    process.kill()
    process.wait()


async def _submit(services: Services, user: Principal, count: int, **more: str) -> list[UUID]:
    asked = [{"seconds": NAP_S, "n": n, **more} for n in range(count)]
    requests = [
        JobRequest(user.owner, "tool", {"tool": "napping.nap", "arguments": one}, QUOTE)
        for one in asked
    ]
    async with services.database.begin(user.elevated()) as uow:
        return [(await services.jobs.submit(uow, one)).job.job_id for one in requests]


async def _ended(services: Services, ids: list[UUID]) -> list[tuple[str, str]]:
    """(status, address of the host that ran it) of those that have ended."""
    query = """
    select status, coalesce(final_output->>'address', '') from app.processing_jobs
    where job_id = any(:ids) and end_time is not null
    """
    async with services.database.begin(SERVICE) as uow:
        return [(row[0], row[1]) for row in await uow.execute(query, {"ids": ids})]


async def _until_ended(services: Services, ids: list[UUID], count: int) -> Counter[str]:
    """Wait until `count` of the jobs have ended; how many each host ran."""

    async def are_over() -> bool:
        return len(await _ended(services, ids)) >= count

    await until(are_over, 60)
    done = await _ended(services, ids)
    assert {status for status, _ in done} == {"Success"}
    return Counter(address for _, address in done)


async def _held_by(services: Services) -> int:
    query = "select count(*) from app.job_queue where lease_until > now()"
    async with services.database.begin(SERVICE) as uow:
        return int((await uow.execute(query)).scalar_one())


async def _until_both_work(
    services: Services, user: Principal, hosts: tuple[Host, ...]
) -> list[UUID]:
    """Give out work until every host has done some; the jobs that took."""
    given: list[UUID] = []
    seen: set[str] = set()
    async with asyncio.timeout(60):
        while seen != {host.address for host in hosts}:
            ids = await _submit(services, user, 40)
            given += ids
            seen |= (await _until_ended(services, ids, len(ids))).keys()
    return given


@pytest.mark.timeout(180)
async def test_a_worker_that_is_cut_off_loses_its_jobs_to_the_other_and_comes_back(
    lan: Network, services: Services, workers: None, folder: Path
) -> None:
    user = await new_user(services)
    total = len(await _until_both_work(services, user, lan.hosts))
    gate = folder / "gate"
    ids = await _submit(services, user, 400, gate=str(gate))
    total += len(ids)

    async def are_held() -> bool:
        at_work = len(list(folder.glob("gate.*")))
        return at_work == len(lan.hosts) and await _held_by(services) > 0

    # Nobody ends one before the cable is out, however long the test is kept from pulling it.
    await until(are_held, 60)
    lan.hosts[0].cut()
    gate.touch()
    ran = await _until_ended(services, ids, len(ids))
    assert ran == {lan.hosts[1].address: len(ids)}

    lan.hosts[0].mend()
    # It is worth the same as before: what it did meanwhile came too late and counts for nothing.
    total += len(await _until_both_work(services, user, lan.hosts))

    async with services.database.begin(user) as uow:
        wallet = await services.billing.wallet(uow, user.owner)
    assert (wallet.held_micro, wallet.captured_micro) == (0, total * PRICE)
    async with services.database.begin(SERVICE) as uow:
        query = "select count(*), count(*) filter (where attempt > 1) from app.processing_jobs"
        count, again = (await uow.execute(query)).one()
    assert count == total
    assert again > 0
