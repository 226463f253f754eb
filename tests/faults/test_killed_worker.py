"""A worker dies at any moment: the job ends well, is paid once, and no finished work is redone."""

import signal
from typing import Any
from uuid import UUID

import psutil
import pytest

from app.agents.types import ROLES
from tests.faults.conftest import LONG_LEASE_S, Platform, ended, expire, until
from tests.faults.tiny import FILES, PRICE, content

pytestmark = pytest.mark.anyio


async def _assert_whole(platform: Platform, job_id: UUID) -> None:
    """The job of the tiny task succeeded once, with both its files."""
    await platform.assert_ended_once(job_id, "Success", PRICE)
    await platform.assert_wallet(PRICE)
    files = await platform.artifacts(job_id)
    assert sorted(files) == FILES
    assert files["data.bin"] == content(2000)
    assert (await platform.view(job_id)).final_output == {"note": "note"}


async def _killed_at(platform: Platform, point: str, **changes: Any) -> None:
    """A worker ran until the point and is dead, and so is its lease."""
    killed = platform.start_worker(at=point, lease_seconds=LONG_LEASE_S, **changes)
    assert await ended(killed) == -signal.SIGKILL
    await expire(platform.services.database)


@pytest.mark.parametrize("moment", ["begun", "worked", "recorded"])
@pytest.mark.parametrize("role", ROLES)
async def test_killed_in_a_node(platform: Platform, role: str, moment: str) -> None:
    job = await platform.submit()
    await _killed_at(platform, f"{role}:{moment}")
    place = [*ROLES].index(role)
    before = await platform.runs(job.job_id)
    assert [run[0] for run in before] == list(ROLES[: place + (moment == "recorded")])

    platform.start_worker()
    await platform.until_ended(job.job_id)

    after = await platform.runs(job.job_id)
    assert after[: len(before)] == before
    assert [run[:3] for run in after] == [(name, 1, "Success") for name in ROLES]
    # A kill before the row costs this role's work once more, and nothing that ended before it.
    again = [role] if moment == "worked" else []
    did = [*ROLES[: place + 1], *again, *ROLES[place + 1 :]]
    assert platform.tiny.steps(job.job_id) == did
    kinds = [kind for _, kind, _ in await platform.events(job.job_id)]
    assert kinds.count("job.started") == 2
    assert kinds.count("agent.started") == kinds.count("agent.finished") == len(ROLES)
    assert kinds.count("agent.handoff") == len(ROLES) - 1
    await _assert_whole(platform, job.job_id)


@pytest.mark.parametrize("moment", ["writing", "stored", "ending"])
async def test_killed_around_its_files(platform: Platform, moment: str) -> None:
    """With one blob of two stored; with both and no end begun; in the transaction of the end."""
    job = await platform.submit()
    await _killed_at(platform, moment)
    assert await platform.artifacts(job.job_id) == {}
    assert not (await platform.view(job.job_id)).is_terminal

    platform.start_worker()
    await platform.until_ended(job.job_id)
    reports = 2 if moment == "writing" else 1
    assert platform.tiny.steps(job.job_id).count("reporter") == reports
    await _assert_whole(platform, job.job_id)


async def test_killed_right_after_the_end(platform: Platform) -> None:
    job = await platform.submit()
    await _killed_at(platform, "ended")
    await _assert_whole(platform, job.job_id)
    other = await platform.submit(note="another")
    platform.start_worker()
    await platform.until_ended(other.job_id)
    assert platform.tiny.steps(job.job_id) == list(ROLES)
    await platform.assert_ended_once(job.job_id, "Success", PRICE)
    await platform.assert_wallet(2 * PRICE)


async def test_a_job_that_kills_every_worker_is_put_aside_and_free(platform: Platform) -> None:
    job = await platform.submit()
    for _ in range(2):
        await _killed_at(platform, "coder:begun", max_attempts=2)
    platform.start_worker(max_attempts=2)
    dead = await platform.until_ended(job.job_id)
    assert dead.error is not None
    assert dead.error["details"]["cause"]["code"] == "lease_lost"
    await platform.assert_ended_once(job.job_id, "Dead", 0)
    await platform.assert_wallet(0)


@pytest.mark.parametrize("moment", ["coder:worked", "stored"])
async def test_a_stopped_worker_comes_back_too_late(platform: Platform, moment: str) -> None:
    job = await platform.submit()
    stopped = platform.start_worker(at=moment, by=signal.SIGSTOP, lease_seconds=LONG_LEASE_S)
    process = psutil.Process(stopped.pid)

    async def is_stopped() -> bool:
        return bool(process.status() == psutil.STATUS_STOPPED)

    await until(is_stopped)
    await expire(platform.services.database)
    second = platform.start_worker(lease_seconds=LONG_LEASE_S)
    await platform.until_ended(job.job_id)
    done, trace = await platform.view(job.job_id), await platform.events(job.job_id)
    second.terminate()
    assert await ended(second) == 0

    # The next job shows that the late one has had its say, and that its worker is sound.
    other = await platform.submit(note="another")
    process.send_signal(signal.SIGCONT)
    await platform.until_ended(other.job_id)
    stopped.terminate()
    assert await ended(stopped) == 0

    assert await platform.view(job.job_id) == done
    assert await platform.events(job.job_id) == trace
    notes = [line.split() for line in (platform.home / "notes").read_text().splitlines()]
    ends = {(int(pid), note) for pid, job_id, note in notes if job_id == str(job.job_id)}
    assert (second.pid, "finished") in ends
    assert (stopped.pid, "finished") not in ends
    if moment == "stored":
        assert {note for pid, note in ends if pid == stopped.pid} <= {"lease_lost"}
    await platform.assert_ended_once(job.job_id, "Success", PRICE)
    await platform.assert_ended_once(other.job_id, "Success", PRICE)
    await platform.assert_wallet(2 * PRICE)
