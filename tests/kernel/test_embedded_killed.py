"""The embedded hub survives what kills processes."""

import os
import signal
import subprocess
from pathlib import Path

import psycopg
import pytest

from app.kernel import embedded_process as process
from app.kernel.errors import Code
from tests.kernel.hubs import (
    Holder,
    delete,
    is_alive,
    kill,
    one,
    postmaster_pid,
    refused,
    small_hub,
    told_pid,
    wait_until,
)


def test_the_server_outlives_a_killed_owner(used_home: Path, hold: Holder) -> None:
    owner = hold(used_home)
    pid = told_pid(owner)
    kill(owner)
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
        ["sleep", "600"], user=account.uid if account.is_other else None, cwd="/"
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
    owner = hold(home, "draft")
    wait_until(lambda: [*home.glob(".init18-*/base")])
    kill(owner)
    assert not (home / "pg18").exists()
    with small_hub(home) as hub:
        assert one(hub.dsn("postgres"), "select 1") == 1
    assert not [*home.glob(".init*")]


def test_data_deleted_under_a_running_server(used_home: Path, hold: Holder) -> None:
    owner = hold(used_home)
    old = told_pid(owner)
    kill(owner)
    delete(used_home / "pg18")
    with small_hub(used_home) as hub:
        assert postmaster_pid(hub.data_dir) != old
        assert one(hub.dsn("postgres"), "select count(*) from pg_database") == 4


def test_a_home_deleted_under_a_running_server(used_home: Path) -> None:
    hub = small_hub(used_home)
    hub.start()
    delete(used_home)
    hub.stop()
    assert not is_alive(used_home)
    assert not used_home.exists()


def test_a_server_that_lost_its_socket_is_restarted(used_home: Path, hold: Holder) -> None:
    owner = hold(used_home)
    old = told_pid(owner)
    delete(used_home / "run18")
    error = refused(small_hub(used_home))
    assert error.code is Code.HUB_LOCKED
    kill(owner)
    with small_hub(used_home) as hub:
        assert postmaster_pid(hub.data_dir) != old
        assert one(hub.dsn("postgres"), "select 1") == 1
