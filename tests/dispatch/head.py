"""A database that other hosts reach over a network: one address, passwords, no other way in."""

import contextlib
import secrets
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from app.kernel.embedded import EmbeddedHub, Hub, bootstrap
from app.kernel.embedded_process import find_account, find_programs, run_program
from app.kernel.migrate import upgrade
from tests.dispatch.hosts import Network

# A worker that is cut off must not keep its locks: the server looks after silent peers.
_PATIENCE = {
    "tcp_keepalives_idle": "2",
    "tcp_keepalives_interval": "1",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "5000",
    # Of the tests' own connection too, whose process may be kept from the processor for a while.
    "idle_in_transaction_session_timeout": "20000",
    "shared_buffers": "64MB",
}
_CLIENT = (
    "keepalives_idle=2&keepalives_interval=1&keepalives_count=3&tcp_user_timeout=5000"
    "&connect_timeout=3"
)


# Below those of the tests' Redis servers.
_PORTS = range(9_000, 11_000)


@dataclass(frozen=True)
class Head:
    """The database as its own host sees it (a socket), and as the others do (an address)."""

    local_dsn: str
    remote_dsn: str


@contextlib.contextmanager
def database_at(network: Network, home: Path) -> Iterator[Head]:
    """An embedded hub at the newest revision that also listens at the network's own address."""
    port = _free_port("127.0.0.1", network.address)
    with EmbeddedHub(home, tcp_port=port, durable=False, settings=_PATIENCE) as hub:
        bootstrap(hub.dsn(hub.superuser))
        upgrade(hub.dsn("uaol_owner"))
        password = _let_in(hub, network)
        user = quote("app_backend")
        address = f"{user}:{password}@{network.address}:{port}/{hub.database}"
        yield Head(hub.dsn("app_backend"), f"postgresql://{address}?{_CLIENT}")


def _free_port(*addresses: str) -> int:
    """A port that is free at all of them, and that no system gives to clients meanwhile."""
    while True:
        port = secrets.choice(_PORTS)
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for address in addresses:
                stack.enter_context(socket.create_server((address, port)))
            return port


def _let_in(hub: Hub, network: Network) -> str:
    """Listen at the network's address, for the application's login with a new password."""
    password = secrets.token_urlsafe(16)
    with psycopg.connect(hub.dsn(hub.superuser, "postgres"), autocommit=True) as admin:
        admin.execute(sql.SQL("alter role app_backend password {}").format(password))
        listen = f"127.0.0.1,{network.address}"
        admin.execute(sql.SQL("alter system set listen_addresses = {}").format(listen))
    with (hub.data_dir / "pg_hba.conf").open("a") as rules:
        rules.write(f"host all app_backend {network.mask} scram-sha-256\n")
    done = run_program(
        find_programs(hub.version) / "pg_ctl",
        *("restart", "-w", "-m", "fast", "-D", str(hub.data_dir)),
        *("-l", str(hub.data_dir / "restart.log")),
        account=find_account(hub.data_dir),
        timeout=60,
    )
    assert done.is_success, done.output
    return password
