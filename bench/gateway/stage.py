"""The processes of a figure: started here, each with its port, ended by their standard input."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from bench.gateway.load import Order, encode

START_S = 120.0
VERSION = "2026-07-28"
_LISTEN = "subscriptions/listen"
_ACCEPT = "application/json, text/event-stream"
_META = {
    "io.modelcontextprotocol/protocolVersion": VERSION,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
}


@dataclass(frozen=True, slots=True)
class Options:
    """What is asked for; times in seconds."""

    seconds: float = 3.0
    rounds: int = 3
    idle: int = 10_000
    active: int = 200


@dataclass(frozen=True)
class Running:
    """A process that serves."""

    pid: int
    port: int
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Its MCP endpoint."""
        return f"http://127.0.0.1:{self.port}/mcp"


@contextlib.contextmanager
def started(*command: str, python: str = sys.executable) -> Iterator[Running]:
    """`python -m` a module whose first line of output is its port, as JSON."""
    process = subprocess.Popen(
        [python, "-m", *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        facts = _first_facts(process.stdout)
        if facts is None:
            raise RuntimeError(f"{command[0]} did not start")
        yield Running(process.pid, facts["port"], facts)
    finally:
        process.stdin.close()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _first_facts(lines: Iterable[str]) -> dict[str, Any] | None:
    """The first line that says a port; some gateways log to their output before."""
    for line in lines:
        if line.startswith('{"port"'):
            facts: dict[str, Any] = json.loads(line)
            return facts
    return None


def load(order: Order) -> dict[str, Any]:
    """Run one load in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.gateway.load"],
        input=json.dumps(asdict(order)),
        capture_output=True,
        text=True,
        timeout=order.seconds + order.warm + 120,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the load failed: {done.stderr[-500:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if not found["calls"] or found["faults"] > found["calls"] // 1000:
        raise RuntimeError(f"{found['faults']} of {found['calls']} calls failed: {found['fault']}")
    return found


def modern(port: int, tool: str, *, key: str | None = None, clients: int = 1) -> Order:
    """Calls of 2026-07-28: one POST each."""
    params = {"name": tool, "arguments": {"text": "hi"}, "_meta": _META}
    return Order(
        port=port,
        body=_request("tools/call", params),
        headers=_headers(key)
        | {"MCP-Protocol-Version": VERSION, "Mcp-Method": "tools/call", "Mcp-Name": tool},
        expect='"hi"',
        clients=clients,
    )


def legacy(port: int, tool: str, *, key: str | None = None, clients: int = 1) -> Order:
    """Calls of an older client: a handshake, a session for each connection, then calls."""
    version = "2025-06-18"
    hello = {
        "protocolVersion": version,
        "capabilities": {},
        "clientInfo": {"name": "bench", "version": "1"},
    }
    initialized = json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"})
    return Order(
        port=port,
        body=_request("tools/call", {"name": tool, "arguments": {"text": "hi"}}),
        headers=_headers(key) | {"MCP-Protocol-Version": version},
        expect='"hi"',
        opening=[_request("initialize", hello), initialized],
        clients=clients,
    )


def listing(port: int, *, key: str | None = None) -> Order:
    """`tools/list` of 2026-07-28."""
    return Order(
        port=port,
        body=_request("tools/list", {"_meta": _META}),
        headers=_headers(key) | {"MCP-Protocol-Version": VERSION, "Mcp-Method": "tools/list"},
        expect='"tools"',
    )


def _headers(key: str | None) -> dict[str, str]:
    headers = {"Accept": _ACCEPT, "Content-Type": "application/json"}
    return headers if key is None else headers | {"Authorization": f"Bearer {key}"}


def _request(method: str, params: Mapping[str, Any]) -> str:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})


def best(found: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The fastest of some rounds: what else the machine does can only take away."""
    return max(found, key=lambda one: float(one["calls_per_s"]))


def listening_request(port: int, key: str) -> bytes:
    """`subscriptions/listen` of 2026-07-28, whole."""
    params = {"notifications": {"toolsListChanged": True}, "_meta": _META}
    headers = _headers(key) | {"MCP-Protocol-Version": VERSION, "Mcp-Method": _LISTEN}
    order = Order(port=port, body=_request(_LISTEN, params), headers=headers, expect="")
    return encode(order, order.body, {})


def wallet_request(port: int, key: str) -> str:
    """`GET /v1/wallet`, whole."""
    return (
        f"GET /v1/wallet HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {key}\r\n\r\n"
    )
