"""Runs the figures one after the other; the last line is one JSON object.

A figure that cannot be measured is in `failed` with the reason, and the exit code is 1.
"""

import argparse
import json
import platform
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import uvloop

from bench.sandbox import crowd, engine, local, overmcp
from bench.sandbox.stage import Options, tell

Figure = Callable[[Options, Mapping[str, Any]], Awaitable[dict[str, Any]]]
# The ratios come after what they are ratios to.
FIGURES: Mapping[str, Figure] = {
    "bubblewrap": local.bubblewrap,
    "docker": engine.docker,
    "llm_sandbox": engine.llm_sandbox,
    "mcp": overmcp.over_mcp,
    "overshoot": local.overshoot,
    "burst": crowd.burst,
    "docker_burst": crowd.docker_burst,
    "refill": crowd.refill,
    "docker_refill": crowd.docker_refill,
}


async def run(names: list[str], options: Options) -> dict[str, Any]:
    """All figures asked for, in one flat object."""
    found: dict[str, Any] = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "kernel": platform.release(),
        "runs": options.runs,
    }
    failed: dict[str, str] = {}
    for name in names:
        tell(f"{name} ...")
        began = time.monotonic()
        try:
            part = await FIGURES[name](options, found)
        except Exception as error:  # noqa: BLE001 - the others are still worth it
            failed[name] = _told(error)
            tell(f"{name} failed: {failed[name]}")
            continue
        found |= {key: _rounded(value) for key, value in part.items()}
        tell(f"{name} took {time.monotonic() - began:.0f} s: {json.dumps(part)}")
    return found | ({"failed": failed} if failed else {})


def _told(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


def _rounded(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.sandbox", description=__doc__)
    parser.add_argument("--only", default=",".join(FIGURES), help="of: %(default)s")
    parser.add_argument("--runs", type=int, help="runs of each, of which the median counts (30)")
    parser.add_argument("--burst", type=int, help="tasks at once (100)")
    parser.add_argument("--pause", type=float, help="seconds of rest before a call over MCP (0.1)")
    given = vars(parser.parse_args())
    names = given.pop("only").split(",")
    if unknown := [name for name in names if name not in FIGURES]:
        parser.error(f"there is no figure {unknown[0]!r}")
    options = replace(Options(), **{name: v for name, v in given.items() if v is not None})
    found = uvloop.run(run([name for name in FIGURES if name in names], options))
    print(json.dumps(found))
    if "failed" in found:
        sys.exit(1)


if __name__ == "__main__":
    main()
