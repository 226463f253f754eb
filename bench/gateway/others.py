"""Other gateways that pip installs, each in its own environment, beside the product.

`make bench-gateway-install` gets them. Of one that is not there the figure says so.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.figures import tell
from bench.gateway.beside import rounds
from bench.gateway.stage import Options, legacy, modern, started

ROOT = Path(__file__).resolve().parents[2]
_LEAST_S = 5.0
_LABELS = {"fastmcp": "fastmcp_shared", "contextforge": "contextforge"}
_PYTHONS = {
    "fastmcp": ROOT / ".venv-bench-fastmcp" / "bin" / "python",
    "contextforge": ROOT / ".venv-bench-contextforge" / "bin" / "python",
}


def fastmcp(options: Options, _before: Mapping[str, Any]) -> dict[str, Any]:
    """Calls a second of the product over FastMCP's proxy, the better of 1 and 32 clients each."""
    return _over("fastmcp", options)


def contextforge(options: Options, _before: Mapping[str, Any]) -> dict[str, Any]:
    """The same over ContextForge."""
    return _over("contextforge", options)


def _over(name: str, options: Options) -> dict[str, Any]:
    python = _PYTHONS[name]
    if not python.exists():
        return {f"vs_{_LABELS[name]}": "skipped: not installed"}
    # Some take seconds for a call.
    options = replace(options, seconds=max(options.seconds, _LEAST_S))
    with (
        started("bench.gateway.upstreams", "echo") as upstream,
        started("bench.gateway.product", upstream.url) as ours,
        started(f"bench.gateway.{name}_proxy", upstream.url, python=str(python)) as peer,
    ):
        key = ours.facts["key"]
        mine = {n: modern(ours.port, "echo.echo", key=key, clients=n) for n in (1, 32)}
        return _beside(name, peer, mine, options)


def _beside(name: str, peer: Any, mine: Mapping[int, Any], options: Options) -> dict[str, Any]:
    tell(f"{name} {peer.facts.get('version')}")
    era = modern if peer.facts["era"] == "modern" else legacy
    tool, key, path = peer.facts["tool"], peer.facts.get("key"), peer.facts.get("path", "/mcp")
    ratios = {}
    for clients, order in mine.items():
        theirs = replace(era(peer.port, tool, key=key, clients=clients), path=path)
        seen = rounds({name: theirs, "ours": order}, options)
        ratios[clients] = (seen["ours"]["calls_per_s"], seen[name]["calls_per_s"])
    best_of_theirs = max(theirs for _, theirs in ratios.values())
    best_of_ours = max(ours for ours, _ in ratios.values())
    label = _LABELS[name]
    return {
        f"vs_{label}": best_of_ours / best_of_theirs,
        f"{label}_per_s": best_of_theirs,
        **{f"vs_{label}_c{clients}": ours / theirs for clients, (ours, theirs) in ratios.items()},
    }
