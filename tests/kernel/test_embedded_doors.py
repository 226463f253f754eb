"""Who reaches an embedded hub: its sockets, folders and ports."""

import contextlib
import random
import socket
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from app.kernel import embedded_files as files
from app.kernel import embedded_process as process
from app.kernel.embedded import EmbeddedHub, Hub
from app.kernel.errors import AppError, Code
from tests.kernel.hubs import (
    AS_ROOT,
    Holder,
    kill,
    mode,
    one,
    postmaster_pid,
    refused,
    small_hub,
    told_pid,
)


def free_port() -> int:
    """One that the system gives to nobody who asks for any: those lie higher."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


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
    told_pid(owner)
    assert refused(small_hub(used_home, tcp_port=port)).code is Code.HUB_LOCKED
    kill(owner)
    with small_hub(used_home, tcp_port=port) as hub:
        assert hub.port == port
        with small_hub(used_home) as other:
            assert other == hub


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
