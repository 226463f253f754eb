"""The embedded hub starts, is shared, survives what kills processes, and says what is wrong."""

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

from app.kernel import embedded_files as files
from app.kernel import embedded_process as process
from app.kernel.embedded import EmbeddedHub, Hub
from app.kernel.embedded_locks import start_lock
from app.kernel.errors import AppError, Code

AS_ROOT = os.geteuid() == 0
SMALL = {"shared_buffers": "16MB", "wal_buffers": "1MB"}
Holder = Callable[..., "subprocess.Popen[str]"]
Mount = Callable[..., None]


def small_hub(home: Path, **options: Any) -> EmbeddedHub:
    """A hub that is quick to start and stop."""
    return EmbeddedHub(home, **{"durable": False, "settings": SMALL, **options})


def postmaster_pid(data_dir: Path) -> int:
    return int((data_dir / "postmaster.pid").read_text().split()[0])


def wait_until(is_true: Callable[[], object], seconds: float = 20) -> None:
    """Look every 10 ms until something is true; fails after `seconds`."""
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while not is_true():
        assert time.monotonic() < deadline, "it did not become true in time"
        pause.wait(0.01)


def one(dsn: str, query: str) -> object:
    with psycopg.connect(dsn, autocommit=True) as conn:
        row = conn.execute(query).fetchone()
    return row[0] if row else None


def is_alive(home: Path) -> bool:
    return bool(process.find_processes(home / "pg18"))


def refused(hub: EmbeddedHub) -> AppError:
    with pytest.raises(AppError) as caught:
        hub.start()
    return caught.value


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- sharing ---------------------------------------------------------------------------


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
        pids = list(pool.map(lambda each: each.stdout.readline(), holders))
    assert len(set(pids)) == 1
    assert int(pids[0]) == postmaster_pid(home / "pg18")
    for each in holders[:2]:
        each.communicate()
    assert is_alive(home)
    holders[2].communicate()
    assert not is_alive(home)


def test_a_process_that_ends_without_stop_leaves_no_server(used_home: Path, hold: Holder) -> None:
    holder = hold(used_home, "forget")
    assert holder.stdout is not None
    assert int(holder.stdout.readline()) == postmaster_pid(used_home / "pg18")
    holder.communicate()
    assert not is_alive(used_home)


def test_the_start_lock_is_not_waited_for_forever(home: Path) -> None:
    path = home / "lock"
    with start_lock(path, 1), pytest.raises(AppError) as caught, start_lock(path, 0.05):
        pytest.fail("two hold the lock")
    assert caught.value.code is Code.HUB_LOCKED


# --- what kills processes --------------------------------------------------------------


def test_the_server_outlives_a_killed_owner(used_home: Path, hold: Holder) -> None:
    owner = hold(used_home)
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    os.killpg(owner.pid, signal.SIGKILL)
    owner.communicate()
    assert is_alive(used_home)
    with small_hub(used_home) as hub:
        assert postmaster_pid(hub.data_dir) == pid
        assert one(hub.dsn("postgres"), "select 1") == 1
    assert not is_alive(used_home)


def test_a_killed_postmaster_is_replaced_and_nothing_committed_is_lost(used_home: Path) -> None:
    with small_hub(used_home, durable=True) as hub:
        with psycopg.connect(hub.dsn("postgres")) as conn:
            conn.execute("create table kept as select 7 as n")
        killed = postmaster_pid(hub.data_dir)
        os.kill(killed, signal.SIGKILL)
        with small_hub(used_home, durable=True) as again:
            assert postmaster_pid(again.data_dir) != killed
            assert one(again.dsn("postgres"), "select n from kept") == 7
        assert one(hub.dsn("postgres"), "select n from kept") == 7
    assert not is_alive(used_home)


def test_a_back_end_that_outlives_its_postmaster_is_ended(
    used_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.kernel.embedded_server._SETTLE_S", 0.2)
    with small_hub(used_home) as hub:
        conn = psycopg.connect(hub.dsn("postgres"), autocommit=True)
        back_end = conn.info.backend_pid
        # A stopped process does not notice that its postmaster is gone.
        os.kill(back_end, signal.SIGSTOP)
        os.kill(postmaster_pid(hub.data_dir), signal.SIGKILL)
        with small_hub(used_home) as again:
            assert one(again.dsn("postgres"), "select 1") == 1
            assert back_end not in {each.pid for each in process.find_processes(hub.data_dir)}
        conn.close()


def test_a_stale_pid_that_is_another_process_now(used_home: Path) -> None:
    account = process.find_account(used_home / "pg18")
    stranger = subprocess.Popen(
        ["sleep", "60"], user=account.uid if account.is_other else None, cwd="/"
    )
    try:
        with small_hub(used_home) as hub:
            lock = hub.socket_dir / f".s.PGSQL.{hub.port}.lock"
            stale = {path: path.read_text() for path in (hub.data_dir / "postmaster.pid", lock)}
            pid = str(postmaster_pid(hub.data_dir))
        for path, text in stale.items():
            path.write_text(text.replace(pid, str(stranger.pid), 1))
        with small_hub(used_home) as hub:
            assert postmaster_pid(hub.data_dir) != stranger.pid
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_pid_file_that_a_crash_left_empty(used_home: Path) -> None:
    (used_home / "pg18" / "postmaster.pid").write_text("")
    with small_hub(used_home) as hub:
        assert one(hub.dsn("postgres"), "select 1") == 1


def test_an_initdb_that_was_killed_is_begun_again(home: Path, hold: Holder) -> None:
    owner = hold(home)
    wait_until(lambda: [*home.glob(".init18-*/base")])
    os.killpg(owner.pid, signal.SIGKILL)
    owner.communicate()
    assert not (home / "pg18").exists()
    with small_hub(home) as hub:
        assert one(hub.dsn("postgres"), "select 1") == 1
    assert not [*home.glob(".init*")]


def test_data_deleted_under_a_running_server(used_home: Path, hold: Holder) -> None:
    owner = hold(used_home)
    assert owner.stdout is not None
    old = int(owner.stdout.readline())
    os.killpg(owner.pid, signal.SIGKILL)
    owner.communicate()
    shutil.rmtree(used_home / "pg18")
    with small_hub(used_home) as hub:
        assert postmaster_pid(hub.data_dir) != old
        assert one(hub.dsn("postgres"), "select count(*) from pg_database") == 4


def test_a_home_deleted_under_a_running_server(used_home: Path) -> None:
    hub = small_hub(used_home)
    hub.start()
    shutil.rmtree(used_home)
    hub.stop()
    assert not is_alive(used_home)
    assert not used_home.exists()


def test_a_server_that_lost_its_socket_is_restarted(used_home: Path, hold: Holder) -> None:
    owner = hold(used_home)
    assert owner.stdout is not None
    old = int(owner.stdout.readline())
    shutil.rmtree(used_home / "run18")
    error = refused(small_hub(used_home))
    assert error.code is Code.HUB_LOCKED
    os.killpg(owner.pid, signal.SIGKILL)
    owner.communicate()
    with small_hub(used_home) as hub:
        assert postmaster_pid(hub.data_dir) != old
        assert one(hub.dsn("postgres"), "select 1") == 1


# --- clear errors ----------------------------------------------------------------------


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


# --- TCP -------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_without_a_port_nothing_listens(hub: Hub) -> None:
    assert one(hub.dsn("postgres"), "show listen_addresses") == ""
    assert "host" not in (hub.data_dir / "pg_hba.conf").read_text().split()


def test_tcp_asks_for_the_password(used_home: Path) -> None:
    port = free_port()
    with small_hub(used_home, tcp_port=port) as hub:
        secret = used_home / "secrets" / "postgres18"
        assert (mode(secret), mode(secret.parent)) == (0o600, 0o700)
        address = f"host=127.0.0.1 port={port} dbname=uaol user="
        good = f"{address}postgres password={secret.read_text()}"
        assert one(good, "select 1") == 1
        assert one(hub.dsn("postgres"), "show listen_addresses") == "127.0.0.1"
        for bad in (
            f"{address}postgres",
            f"{address}postgres password=wrong",
            f"{address}postgres password=''",
        ):
            with pytest.raises(psycopg.OperationalError, match="password"):
                psycopg.connect(bad)
        stored = one(hub.dsn("postgres"), "select rolpassword from pg_authid where oid = 10")
        assert str(stored).startswith("SCRAM-SHA-256$")
        rules = one(
            hub.dsn("postgres"),
            "select string_agg(distinct type || ' ' || auth_method, ',') from pg_hba_file_rules",
        )
        assert rules == "host scram-sha-256,local peer"


def test_a_port_in_use(used_home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        error = refused(small_hub(used_home, tcp_port=port))
    assert error.code is Code.HUB_UNAVAILABLE
    assert error.details == {"port": port}


def test_tcp_on_a_server_that_runs_without(used_home: Path, hold: Holder) -> None:
    port = free_port()
    owner = hold(used_home)
    assert owner.stdout is not None
    owner.stdout.readline()
    assert refused(small_hub(used_home, tcp_port=port)).code is Code.HUB_LOCKED
    os.killpg(owner.pid, signal.SIGKILL)
    owner.communicate()
    with small_hub(used_home, tcp_port=port) as hub:
        assert hub.port == port
        with small_hub(used_home) as other:
            assert other == hub


# --- paths and permissions -------------------------------------------------------------


def test_a_home_too_deep_for_a_socket(used_home: Path) -> None:
    deep = used_home / ("x" * 60) / ("it's a 'ümlaut' " * 3)
    deep.mkdir(parents=True)
    (used_home / "pg18").rename(deep / "pg18")
    with small_hub(deep) as hub:
        assert not hub.socket_dir.is_relative_to(deep)
        assert mode(hub.socket_dir) == 0o700
        assert one(hub.dsn("postgres", "postgres", application_name="a b&c"), "select 1") == 1
    hub.socket_dir.rmdir()


def test_a_socket_folder_made_by_somebody_else(home: Path) -> None:
    account = process.find_account(home)
    (home / "elsewhere").mkdir()
    (home / "run").symlink_to(home / "elsewhere")
    with pytest.raises(AppError) as caught:
        files.prepare_socket_dir(home / "run", account)
    assert caught.value.code is Code.HUB_NOT_WRITABLE


def test_nobody_else_may_look_inside(hub: Hub) -> None:
    assert mode(hub.data_dir) == 0o700
    assert mode(hub.socket_dir) == 0o700
    for name in ("pg_hba.conf", "pg_ident.conf", "postgresql.auto.conf", "server.log"):
        assert mode(hub.data_dir / name) == 0o600
    assert "trust" not in (hub.data_dir / "pg_hba.conf").read_text()


def test_parents_become_passable_and_never_listable(home: Path, used_home: Path) -> None:
    below = home / "closed" / "home"
    below.mkdir(parents=True)
    (home / "closed").chmod(0o700)
    (used_home / "pg18").rename(below / "pg18")
    with small_hub(below):
        assert mode(home / "closed") == (0o701 if AS_ROOT else 0o700)


@pytest.mark.skipif(not AS_ROOT, reason="only root can act as another user")
def test_another_user_is_refused_even_at_an_open_socket(used_home: Path) -> None:
    with small_hub(used_home) as hub:
        hub.socket_dir.chmod(0o777)
        (hub.socket_dir / ".s.PGSQL.5432").chmod(0o777)
        program = process.find_programs(18) / "psql"
        done = subprocess.run(
            [program, hub.dsn("postgres"), "-c", "select 1"],
            user="nobody",
            group="nogroup",
            extra_groups=[],
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode != 0
    assert "Peer authentication failed" in done.stderr


def test_the_server_sees_nothing_of_the_callers_environment(
    used_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UAOL_PLANTED_SECRET", "hush")
    monkeypatch.setenv("PGDATA", "/nowhere")
    monkeypatch.setenv("PGPORT", "1")
    with small_hub(used_home) as hub:
        pid = postmaster_pid(hub.data_dir)
        if sys.platform == "linux":
            assert b"hush" not in Path(f"/proc/{pid}/environ").read_bytes()
        assert one(hub.dsn("postgres"), "show port") == "5432"


def test_settings_reach_the_server(used_home: Path) -> None:
    with EmbeddedHub(used_home, settings={"shared_buffers": "24MB"}) as hub:
        shown = {
            name: one(hub.dsn("postgres"), f"show {name}")
            for name in ("shared_buffers", "wal_level", "max_connections", "data_checksums")
        }
    assert shown == {
        "shared_buffers": "24MB",
        "wal_level": "minimal",
        "max_connections": "200",
        "data_checksums": "on",
    }
