"""A thousand runs leave nothing behind; a full disk or a restarted engine loses nothing."""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.sandbox import Capabilities, TaskSpec
from tests.conftest import cannot_run
from tests.faults.summary import SECONDS, record
from tests.sandbox.abuse.conftest import USUAL, Attack, Run, Seen, started
from tests.sandbox.abuse.host import Host
from tests.sandbox.abuse.prelude import said

pytestmark = pytest.mark.anyio

# As many as a test may take; `make faults` takes the thousand on every executor.
RUNS = {"bubblewrap": 1000}
SHORT, LONG = 30, 1000


def _apart() -> tuple[str, ...]:
    """Starts a program where it sees no mount that others make meanwhile, but all of its own."""
    command = ("unshare", "--mount", "--propagation=private")
    can = subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0
    return command if can else ()


@pytest.mark.timeout(1200)
async def test_leaks(capabilities: Capabilities, seen: Seen) -> None:
    name = capabilities.executor
    runs = LONG if SECONDS else RUNS.get(name, SHORT)
    process = await asyncio.create_subprocess_exec(
        *_apart(), sys.executable, "-m", "tests.sandbox.abuse.leaks", name, str(runs),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode == 0
    told = json.loads(output)
    record(f"sandbox_{name}", runs=runs, **told["ended"])
    waited = told["ended"].pop("waited")
    assert sum(told["ended"].values()) == runs
    assert "infra_error" not in told["ended"]
    assert waited > 0
    assert told["after"] == told["before"]
    seen()


@pytest.fixture
def full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for temporary files that has no room for a byte."""
    if os.geteuid() != 0:
        cannot_run("only root can mount a small disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        cannot_run(f"cannot mount a small disk: {done.stderr.strip()}")
    (folder / "filler").write_bytes(bytes(64 * 1024))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


_FULL = """
for folder in ("/tmp", "/dev/shm", "/task", "/task/output"):
    def fill():
        for index in range(400):
            with open(f"{folder}/{index}", "wb", buffering=0) as file:
                while file.write(bytes(2**20)):
                    pass
    attempt(folder, fill)
"""


async def test_full_disk(
    full_disk: Path, capabilities: Capabilities, host: Host, attack: Attack, seen: Seen
) -> None:
    with pytest.raises(OSError, match="No space left"):
        (full_disk / "more").write_bytes(b"x")
    async with started(capabilities.executor) as sandbox:
        result = await sandbox.run(TaskSpec(host.mark, attack(_FULL), limits=USUAL))
    assert result.status == "ok", result.stderr
    assert said(result.stdout).done() == set()
    seen()


async def test_a_full_sandbox_still_reports(run: Run, attack: Attack) -> None:
    result = await run(attack(_FULL), output_bytes=2**20)
    assert result.status == "ok"
    assert set(said(result.stdout).tried.values()) <= {"ENOSPC", "EFBIG", "ENOENT", "EACCES"}
