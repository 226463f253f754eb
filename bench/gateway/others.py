"""Other gateways that pip installs, each in its own environment, beside the product.

`make bench-gateway-install` gets them. One that is not there is left out and named in `skipped`.
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
_PYTHONS = {
    "fastmcp": ROOT / ".venv-bench-fastmcp" / "bin" / "python",
    "contextforge": ROOT / ".venv-bench-contextforge" / "bin" / "python",
}


def peers(options: Options, _before: Mapping[str, Any]) -> dict[str, Any]:
    """Calls a second of the product over theirs, the better of 1 and of 32 clients each."""
    # Some take seconds for a call.
    options = replace(options, seconds=max(options.seconds, _LEAST_S))
    found: dict[str, Any] = {}
    skipped: dict[str, str] = {}
    with (
        started("bench.gateway.upstreams", "echo") as upstream,
        started("bench.gateway.product", upstream.url) as ours,
    ):
        key = ours.facts["key"]
        mine = {n: modern(ours.port, "echo.echo", key=key, clients=n) for n in (1, 32)}
        for name, python in _PYTHONS.items():
            if not python.exists():
                skipped[name] = "not installed"
                continue
            module = f"bench.gateway.{name}_proxy"
            with started(module, upstream.url, python=str(python)) as peer:
                found |= _beside(name, peer, mine, options)
    return found | ({"skipped": skipped} if skipped else {})


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
    label = "fastmcp_shared" if name == "fastmcp" else name
    return {
        f"vs_{label}": best_of_ours / best_of_theirs,
        f"{label}_per_s": best_of_theirs,
        **{f"vs_{label}_c{clients}": ours / theirs for clients, (ours, theirs) in ratios.items()},
    }
