"""Runs the figures one after the other; the last line is one JSON object.

A figure that cannot be measured is in `failed` with the reason, and the exit code is 1.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from bench.gateway import beside, crowd, others
from bench.gateway.stage import Options, tell

Figure = Callable[[Options, Mapping[str, Any]], dict[str, Any]]
FIGURES: Mapping[str, Figure] = {
    "echo": beside.echo,
    "floor": beside.floor,
    "legacy": beside.legacy_era,
    "tools": beside.tools,
    "peers": others.peers,
    "crowd": crowd.crowd,
}


def run(names: list[str], options: Options) -> dict[str, Any]:
    """All figures asked for, in one flat object."""
    found: dict[str, Any] = {}
    failed: dict[str, str] = {}
    for name in names:
        tell(f"{name} ...")
        began = time.monotonic()
        try:
            part = FIGURES[name](options, found)
        except Exception as error:  # noqa: BLE001 - the others are still worth it
            failed[name] = f"{type(error).__name__}: {error}"
            tell(f"{name} failed: {failed[name]}")
            continue
        found |= {key: _rounded(value) for key, value in part.items()}
        tell(f"{name} took {time.monotonic() - began:.0f} s: {json.dumps(part)}")
    return found | ({"failed": failed} if failed else {})


def _rounded(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.gateway", description=__doc__)
    parser.add_argument("--only", default=",".join(FIGURES), help="of: %(default)s")
    parser.add_argument("--seconds", type=float, help="window of one round (3)")
    parser.add_argument("--rounds", type=int, help="rounds, of which the best counts (3)")
    parser.add_argument("--idle", type=int, help="clients that only listen (10000)")
    parser.add_argument("--active", type=int, help="clients that call meanwhile (200)")
    given = vars(parser.parse_args())
    names = given.pop("only").split(",")
    if unknown := [name for name in names if name not in FIGURES]:
        parser.error(f"there is no figure {unknown[0]!r}")
    options = replace(Options(), **{name: v for name, v in given.items() if v is not None})
    found = run([name for name in FIGURES if name in names], options)
    print(json.dumps(found))
    if "failed" in found:
        sys.exit(1)


if __name__ == "__main__":
    main()
