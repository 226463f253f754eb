"""Ten thousand clients that only listen, and two hundred that call meanwhile."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.figures import tell
from bench.gateway.load import encode
from bench.gateway.stage import Options, modern, started, wallet_request

_USERS = 200
_CALLS = 15
_OPENED_S = 300.0


def crowd(options: Options, _before: Mapping[str, Any]) -> dict[str, Any]:
    """Memory of the gateway with all of them connected, and the times of those who call."""
    with (
        started("bench.gateway.upstreams", "echo") as upstream,
        started("bench.gateway.product", upstream.url, "--users", str(_USERS)) as ours,
    ):
        keys, before = ours.facts["keys"], _rss_mb(ours.pid)
        quiet = _paced(ours.port, keys, options)
        with _listening(ours.port, keys, options.idle) as acknowledged:
            if acknowledged < options.idle:
                raise RuntimeError(f"only {acknowledged} of {options.idle} streams were opened")
            tell(f"  {acknowledged} listen; {_rss_mb(ours.pid):.0f} MB")
            busy = _paced(ours.port, keys, options)
            after = _rss_mb(ours.pid)
    return {
        "idle_10k_rss_mb": after,
        "idle_none_rss_mb": before,
        "api_p95_ms_10k": busy["p95_ms"],
        "api_p95_ms_quiet": quiet["p95_ms"],
        "idle_clients": options.idle,
        "active_clients": options.active,
    }


class _listening:  # noqa: N801 - used like a function
    """The listeners' process, for as long as the block runs."""

    def __init__(self, port: int, keys: Sequence[str], count: int) -> None:
        self._order = {"port": port, "keys": list(keys), "count": count}

    def __enter__(self) -> int:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.gateway.listeners"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(self._order) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        return int(json.loads(line)["acknowledged"]) if line else 0

    def __exit__(self, *_error: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)


def _paced(port: int, keys: Sequence[str], options: Options) -> dict[str, Any]:
    orders = [modern(port, "echo.echo", key=key) for key in keys[: options.active]]
    texts = [encode(one, one.body, {}).decode() for one in orders[::2]]
    texts += [wallet_request(port, key) for key in keys[1 : options.active : 2]]
    order = {"port": port, "texts": texts, "count": options.active, "calls": _CALLS}
    done = subprocess.run(
        [sys.executable, "-m", "bench.gateway.paced"],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        timeout=_OPENED_S,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the calls failed: {done.stderr[-500:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    if found["faults"]:
        raise RuntimeError(f"{found['faults']} of {found['calls']} calls failed")
    return found


def _rss_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096 / 2**20
