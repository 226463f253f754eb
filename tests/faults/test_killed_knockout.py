"""The real task, with its real tools, whose worker dies once in each of the five nodes."""

import asyncio
import contextlib
import signal
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil
import pytest

import biotools
from app.agents import Templates
from app.agents.types import ROLES
from app.storage import StoredFile
from tests.faults.conftest import LONG_LEASE_S, Platform, expire, until

pytestmark = pytest.mark.anyio

RECORD = Path(biotools.__file__).parent / "samples" / "human_HBB_region_U01317.gb"


async def _upload(platform: Platform, path: Path) -> StoredFile:
    services = platform.services
    blob = await services.storage.put_bytes(path.read_bytes())
    async with services.database.begin(platform.user.elevated()) as uow:
        return await services.storage.attach(
            uow,
            user_id=platform.user.owner,
            blob=blob,
            name=path.name,
            media_type="text/plain",
            kind="input",
        )


@pytest.mark.timeout(600)
async def test_killed_in_every_node_in_turn(platform: Platform) -> None:
    template = Templates().get("crispr_knockout")
    record = await _upload(platform, RECORD)
    given = template.validate({"record": str(record.file_id), "gene": "HBB"})
    job = await platform.submit(template.name, template.price_micro, **given)
    earlier: list[tuple[object, ...]] = []
    servers: set[psutil.Process] = set()
    for place, role in enumerate(ROLES):
        killed = platform.start_worker(
            at=f"{role}:called", template=template.name, lease_seconds=LONG_LEASE_S
        )
        servers |= await _watched_to_its_end(killed)
        await expire(platform.services.database)
        runs = await platform.runs(job.job_id)
        # One role after the other ends, and none that has ended is run again.
        assert [run[0] for run in runs] == list(ROLES[:place])
        assert runs[: len(earlier)] == earlier
        earlier = runs

    platform.start_worker(template=template.name)
    done = await platform.until_ended(job.job_id, 100)
    assert done.status == "Success", done.error
    assert [run[:3] for run in await platform.runs(job.job_id)] == [
        (role, 1, "Success") for role in ROLES
    ]
    trace = await platform.events(job.job_id)
    assert [kind for _, kind, _ in trace].count("job.started") == len(ROLES) + 1
    _assert_no_call_after_its_role_has_ended(trace)
    await platform.assert_ended_once(job.job_id, "Success", template.price_micro)
    await platform.assert_wallet(template.price_micro)
    files = await platform.artifacts(job.job_id)
    assert {"report.json", "report.md", "guides.csv", "oligos.csv"} <= set(files)
    # A call is metered once, however often it was repeated.
    usage = "select count(*), count(distinct key) from app.usage_event where job_id = :job"
    ((rows, keys),) = await platform.rows(usage, job=job.job_id)
    called = {data["key"] for _, kind, data in trace if kind == "tool.finished"}
    assert rows == keys == len(called)
    # Nobody was left to end the tool servers of the dead: they ended by themselves.
    assert len(servers) >= len(ROLES)
    _, alive = await asyncio.to_thread(psutil.wait_procs, servers, 30)
    assert alive == []


async def _watched_to_its_end(worker: BaseProcess) -> set[psutil.Process]:
    """Wait until the worker has killed itself; give the tool servers it had started."""
    seen: set[psutil.Process] = set()

    async def is_over() -> bool:
        with contextlib.suppress(psutil.NoSuchProcess):
            seen.update(psutil.Process(worker.pid).children())
        return worker.exitcode is not None

    await until(is_over, 100)
    assert worker.exitcode == -signal.SIGKILL
    return seen


def _assert_no_call_after_its_role_has_ended(trace: list[tuple[object, ...]]) -> None:
    has_ended: set[str] = set()
    calls = 0
    for _, kind, data in trace:
        assert isinstance(data, dict)
        if kind == "agent.finished":
            has_ended.add(data["role"])
        if kind == "tool.started":
            calls += 1
            assert data["key"].split(":")[0] not in has_ended
    assert calls > len(ROLES)
