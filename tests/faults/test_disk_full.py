"""The disk of the files is full when a report is to be written."""

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import cannot_run
from tests.faults.conftest import Platform, until
from tests.faults.tiny import FILES, PRICE, content

pytestmark = pytest.mark.anyio

DISK = 4 * 2**20
LARGE = 2 * 2**20


@pytest.fixture
def small_disk(home: Path) -> Iterator[Path]:
    """The folder of the files, on a disk of its own that a test can fill."""
    if os.geteuid() != 0:
        cannot_run("only root can mount a small disk")
    folder = home / "files"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        cannot_run(f"cannot mount a small disk: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Leave room for a note and none for the report."""
    filler = folder / "filler"
    filler.write_bytes(b"\0" * (DISK - LARGE // 2))
    return filler


def assert_only_whole_files(folder: Path) -> None:
    """No draft is left, and every blob has the bytes of its name."""
    assert list((folder / "incoming").iterdir()) == []
    for path in folder.glob("[0-9a-f][0-9a-f]/*"):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name


async def test_a_report_waits_for_space(small_disk: Path, platform: Platform) -> None:
    filler = fill(small_disk)
    job = await platform.submit(size=LARGE)
    async with platform.working(max_attempts=1000):

        async def is_refused_twice() -> bool:
            kinds = [kind for _, kind, _ in await platform.events(job.job_id)]
            return kinds.count("job.retrying") >= 2

        await until(is_refused_twice)
        assert not (await platform.view(job.job_id)).is_terminal
        assert await platform.artifacts(job.job_id) == {}
        assert_only_whole_files(small_disk)
        filler.unlink()
        await platform.until_ended(job.job_id)
    await platform.assert_ended_once(job.job_id, "Success", PRICE)
    await platform.assert_wallet(PRICE)
    files = await platform.artifacts(job.job_id)
    assert sorted(files) == FILES
    assert files["data.bin"] == content(LARGE)
    assert_only_whole_files(small_disk)
    trace = await platform.events(job.job_id)
    causes = [data["error"]["code"] for _, kind, data in trace if kind == "job.retrying"]
    assert set(causes) == {"storage_full"}
    # What was worked out before the disk was full is not worked out again.
    steps = platform.tiny.steps(job.job_id)
    assert steps == [*steps[:4], *["reporter"] * (len(causes) + 1)]


async def test_a_disk_that_stays_full_costs_nothing(small_disk: Path, platform: Platform) -> None:
    fill(small_disk)
    job = await platform.submit(size=LARGE)
    async with platform.working(max_attempts=2):
        dead = await platform.until_ended(job.job_id)
        small = await platform.submit(size=16)
        await platform.until_ended(small.job_id)
    assert dead.error is not None
    assert dead.error["code"] == "attempts_exhausted"
    assert dead.error["details"]["cause"]["code"] == "storage_full"
    await platform.assert_ended_once(job.job_id, "Dead", 0)
    assert await platform.artifacts(job.job_id) == {}
    assert_only_whole_files(small_disk)
    # One user's large report does not stop what still fits.
    await platform.assert_ended_once(small.job_id, "Success", PRICE)
    await platform.assert_wallet(PRICE)
