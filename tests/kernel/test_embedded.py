"""The embedded hub starts, is shared, and says what is wrong."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.kernel import embedded_files as files
from app.kernel import embedded_process as process
from app.kernel.embedded import EmbeddedHub
from app.kernel.embedded_locks import start_lock
from app.kernel.errors import AppError, Code
from tests.kernel.hubs import (
    AS_ROOT,
    Holder,
    Mount,
    is_alive,
    one,
    postmaster_pid,
    refused,
    small_hub,
    told_pid,
)


def test_the_last_to_leave_stops_the_server(used_home: Path) -> None:
    first, second = small_hub(used_home), small_hub(used_home)
    started = first.start()
    pid = postmaster_pid(started.data_dir)
    assert second.start() == started
    assert second.start() == started
    first.stop()
    first.stop()
    assert postmaster_pid(started.data_dir) == pid
    assert one(started.dsn("postgres"), "select 1") == 1
    second.stop()
    assert not is_alive(used_home)


def test_processes_that_start_together_share_one_server(home: Path, hold: Holder) -> None:
    holders = [hold(home) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        pids = set(pool.map(told_pid, holders))
    assert pids == {postmaster_pid(home / "pg18")}
    for each in holders[:2]:
        each.communicate()
    assert is_alive(home)
    holders[2].communicate()
    assert not is_alive(home)


def test_a_process_that_ends_without_stop_leaves_no_server(used_home: Path, hold: Holder) -> None:
    holder = hold(used_home, "forget")
    assert told_pid(holder) == postmaster_pid(used_home / "pg18")
    holder.communicate()
    assert not is_alive(used_home)


def test_the_start_lock_is_not_waited_for_forever(home: Path) -> None:
    path = home / "lock"
    with start_lock(path, 1), pytest.raises(AppError) as caught, start_lock(path, 0.05):
        pytest.fail("two hold the lock")
    assert caught.value.code is Code.HUB_LOCKED


def test_a_disk_that_is_full_at_first_use(home: Path, mount: Mount) -> None:
    mount("size=8m")
    error = refused(small_hub(home))
    assert error.code is Code.HUB_DISK_FULL
    assert error.hint is not None
    assert not (home / "pg18").exists()
    assert not [*home.glob(".init*")]


def test_a_disk_that_filled_up(home: Path, mount: Mount) -> None:
    mount("size=150m")
    with small_hub(home):
        pass
    with (home / "filler").open("wb", buffering=0) as filler:
        free = shutil.disk_usage(home).free
        while free:
            filler.write(b"\0" * min(free, 2**20))
            free = shutil.disk_usage(home).free
    assert refused(small_hub(home)).code is Code.HUB_DISK_FULL
    (home / "filler").unlink()
    with small_hub(home) as hub:
        assert one(hub.dsn("postgres"), "select 1") == 1


def test_a_home_that_cannot_be_written(home: Path, mount: Mount) -> None:
    if AS_ROOT:
        mount("size=1m,ro")
    else:
        home.chmod(0o500)
    error = refused(small_hub(home))
    assert error.code is Code.HUB_NOT_WRITABLE
    assert str(home) in error.message
    assert refused(small_hub(home / "below")).code is Code.HUB_NOT_WRITABLE
    if not AS_ROOT:
        home.chmod(0o700)


def test_a_home_that_is_a_file(home: Path) -> None:
    (home / "file").write_text("")
    assert refused(small_hub(home / "file")).code is Code.HUB_NOT_WRITABLE


@pytest.mark.parametrize("mark", ["16\n", None])
def test_data_of_another_version_are_left_alone(home: Path, mark: str | None) -> None:
    data = home / "pg18"
    data.mkdir()
    (data / ("PG_VERSION" if mark else "thesis.txt")).write_text(mark or "precious")
    owner = process.find_account(home / "none")
    os.chown(data, owner.uid, owner.gid)
    error = refused(small_hub(home))
    assert error.code is Code.HUB_VERSION_MISMATCH
    assert len([*data.iterdir()]) == 1


def test_an_unknown_version(home: Path) -> None:
    with pytest.raises(AppError) as caught:
        EmbeddedHub(home, version=9)
    assert caught.value.code is Code.HUB_VERSION_MISMATCH


@pytest.mark.skipif(not AS_ROOT, reason="only root can give a folder away")
def test_data_of_another_user_are_refused(used_home: Path) -> None:
    os.chown(used_home / "pg18", 0, 0)
    assert refused(small_hub(used_home)).code is Code.HUB_NOT_WRITABLE


def test_a_setting_that_postgresql_refuses(used_home: Path) -> None:
    error = refused(small_hub(used_home, settings={"work_mem": "lots"}))
    assert error.code is Code.HUB_UNAVAILABLE
    assert "work_mem" in error.details["output"]
    assert not is_alive(used_home)


def test_a_running_server_without_fsync_is_not_taken_for_durable(used_home: Path) -> None:
    durable = small_hub(used_home, durable=True)
    with small_hub(used_home):
        assert refused(durable).code is Code.HUB_LOCKED
    with durable as hub:
        values = [one(hub.dsn("postgres"), f"show {name}") for name in files._DURABILITY]
    assert values == ["on", "on", "on"]
