"""A Redis Cluster on loopback: three masters, three replicas; or a single server.

Joined by commands of its own rather than by `redis-cli`, which waits for longer than it takes.
"""

import contextlib
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

NODE_TIMEOUT_MS = 2000
MASTERS = 3
_SLOTS = 16384
_START_S = 20.0
_POLL_S = 0.02
# With the servers' own ports, 10,000 above, below those that systems give to clients.
_PORTS = range(11_000, 22_000)


class PortTakenError(OSError):
    """A server did not start: another has its port, or its cluster port."""


@dataclass
class Node:
    """One server of the cluster."""

    port: int
    process: subprocess.Popen[bytes]
    client: redis.Redis = field(repr=False)

    @property
    def name(self) -> str:
        """Its id in the cluster."""
        return str(self.ask("CLUSTER", "MYID").decode())

    def ask(self, *words: Any) -> Any:
        """Send one command to this node."""
        return self.client.execute_command(*words)  # type: ignore[no-untyped-call]

    def is_master(self) -> bool:
        """Whether it takes writes, by its own account."""
        return bool(self.ask("ROLE")[0] == b"master")

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        """Stop it without its knowing."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)


@dataclass
class Cluster:
    """A running cluster, or a single server that knows of none."""

    program: str
    folder: Path
    is_single: bool = False
    nodes: list[Node] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Addresses of all nodes, as the platform's setting wants them."""
        return ",".join(f"redis://127.0.0.1:{node.port}" for node in self.nodes)

    def master_of(self, key: str) -> Node:
        """The live master that holds a key's slot."""
        for node in self.alive():
            if not node.is_master():
                continue
            with contextlib.suppress(redis.ResponseError):
                node.ask("EXISTS", key)
                return node
        raise LookupError(key)

    def alive(self) -> list[Node]:
        """The nodes that run."""
        return [node for node in self.nodes if node.process.poll() is None]

    def wipe(self) -> None:
        """Empty every master, streams and groups and all."""
        for node in self.alive():
            if node.is_master():
                node.ask("FLUSHALL")

    def restart(self, node: Node) -> None:
        """Start a killed node again with what its disk still has."""
        fresh = start_node(self.program, self.folder, node.port, is_single=self.is_single)
        self.nodes[self.nodes.index(node)] = fresh

    def wait_until_whole(self, replicas: int = MASTERS) -> None:
        """Wait until every slot is served and that many replicas are in step."""
        if self.is_single:
            return
        _wait(lambda: all(_is_ok(node) for node in self.alive()))
        _wait(lambda: sum(_is_in_step(node) for node in self.alive()) >= replicas)

    def stop(self) -> None:
        """End all nodes."""
        for node in self.nodes:
            node.client.close()
            if node.process.poll() is None:
                node.resume()
                node.kill()


@contextlib.contextmanager
def redis_cluster(program: str) -> Iterator[Cluster]:
    """Three masters and three replicas, joined; `program` is the path of `redis-server`."""
    with _servers(program, 2 * MASTERS, is_single=False) as cluster:
        _join(cluster)
        yield cluster


@contextlib.contextmanager
def single_redis(program: str) -> Iterator[Cluster]:
    """One server, not in a cluster."""
    with _servers(program, 1, is_single=True) as server:
        yield server


@contextlib.contextmanager
def _servers(program: str, count: int, *, is_single: bool) -> Iterator[Cluster]:
    with tempfile.TemporaryDirectory(prefix="uaol-redis-") as folder:
        made = Cluster(program, Path(folder), is_single)
        try:
            while len(made.nodes) < count:
                with contextlib.suppress(PortTakenError):
                    port = secrets.choice(_PORTS)
                    made.nodes.append(start_node(program, made.folder, port, is_single=is_single))
            yield made
        finally:
            made.stop()


def start_node(program: str, folder: Path, port: int, *, is_single: bool = False) -> Node:
    """Start one server; it syncs its append-only file every second. Raises `PortTakenError`."""
    place = folder / str(port)
    place.mkdir(exist_ok=True)
    options = {
        "bind": "127.0.0.1",
        "port": port,
        "dir": place,
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "''",
        "loglevel": "warning",
        "logfile": place / "log",
        "cluster-enabled": "no" if is_single else "yes",
        "cluster-node-timeout": NODE_TIMEOUT_MS,
        "cluster-replica-validity-factor": 0,
        # The slots that still have a master are served while another is elected.
        "cluster-require-full-coverage": "no",
        "repl-diskless-sync-delay": 0,
    }
    lines = "\n".join(f"{name} {value}" for name, value in options.items())
    (place / "redis.conf").write_text(lines + "\n")
    command = [program, str(place / "redis.conf")]
    if setpriv := shutil.which("setpriv"):
        # Also when the one that started it is killed.
        command = [setpriv, "--pdeathsig", "KILL", *command]
    process = subprocess.Popen(command, start_new_session=True)
    client = redis.Redis("127.0.0.1", port, socket_timeout=30, protocol=2)
    node = Node(port, process, client)
    _wait(lambda: process.poll() is not None or _answers(node))
    if process.poll() is not None:
        client.close()
        raise PortTakenError(port)
    return node


def _join(cluster: Cluster) -> None:
    nodes = cluster.nodes
    masters, replicas = nodes[:MASTERS], nodes[MASTERS:]
    for at, node in enumerate(nodes):
        node.ask("CLUSTER", "SET-CONFIG-EPOCH", at + 1)
        for other in nodes[:at]:
            node.ask("CLUSTER", "MEET", "127.0.0.1", other.port)
    edges = [round(at * _SLOTS / MASTERS) for at in range(MASTERS + 1)]
    for master, first, end in zip(masters, edges[:-1], edges[1:], strict=True):
        master.ask("CLUSTER", "ADDSLOTSRANGE", first, end - 1)
    _wait(lambda: all(_known(node) == len(nodes) for node in nodes))
    for replica, master in zip(replicas, masters, strict=True):
        replica.ask("CLUSTER", "REPLICATE", master.name)
    cluster.wait_until_whole()


def _known(node: Node) -> int:
    """How many nodes it knows for good."""
    lines = node.ask("CLUSTER", "NODES")
    rows = lines.values() if isinstance(lines, dict) else lines.decode().splitlines()
    return sum("handshake" not in str(row) for row in rows)


def _is_ok(node: Node) -> bool:
    found = node.ask("CLUSTER", "INFO")
    if isinstance(found, dict):
        return bool(found["cluster_state"] == "ok" and int(found["cluster_slots_ok"]) == _SLOTS)
    return b"cluster_state:ok" in found and b"cluster_slots_ok:16384" in found


def _is_in_step(node: Node) -> bool:
    role = node.ask("ROLE")
    return bool(role[0] == b"slave" and role[3] == b"connected")


def _answers(node: Node) -> bool:
    """Whether this very server answers, not one of another cluster that has its port."""
    with contextlib.suppress(redis.RedisError):
        return bool(node.client.info("server")["process_id"] == node.process.pid)
    return False


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _START_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the Redis cluster did not come up")
        time.sleep(_POLL_S)
