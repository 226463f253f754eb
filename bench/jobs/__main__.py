"""Runs the figures one after the other, each from a fresh hub; the last line is one JSON object.

A figure that cannot be measured, or whose books do not balance, is in `failed` with the reason,
and the exit code is 1.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from bench.jobs import closed, opened, others, overhttp, rows, snapshot, waking
from bench.jobs.stage import Options, tell

Figure = Callable[[Options, Mapping[str, Any]], dict[str, Any]]
# The ratios come after what they are ratios to.
FIGURES: Mapping[str, Figure] = {
    "jobs": closed.throughput,
    "raw": others.raw,
    "peers": others.peers,
    "snapshot": snapshot.held_snapshot,
    "open": opened.open_loop,
    "http": overhttp.over_http,
    "hot": closed.one_user,
    "wake": waking.wake_up,
    "dag": others.dag,
    "rows": rows.with_rows,
}
_QUICK_S = 5.0
_QUICK_ROWS = 100_000


def run(names: list[str], options: Options) -> dict[str, Any]:
    """All figures asked for, in one flat object."""
    found: dict[str, Any] = {}
    failed: dict[str, str] = {}
    for name in names:
        tell(f"{name} ...")
        began = time.monotonic()
        try:
            part = FIGURES[name](options, found)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the others are still worth it
            failed[name] = f"{type(error).__name__}: {error}"
            tell(f"{name} failed: {failed[name]}")
            continue
        found |= part
        tell(f"{name} took {time.monotonic() - began:.0f} s: {json.dumps(part)}")
    return found | ({"failed": failed} if failed else {})


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.jobs", description=__doc__)
    parser.add_argument("--only", default=",".join(FIGURES), help="of: %(default)s")
    parser.add_argument("--quick", action="store_true", help="windows of 5 s, 100,000 rows")
    parser.add_argument("--seconds", type=float, help="window of the closed loops (60)")
    parser.add_argument("--open-seconds", type=float, help="window of the open loop (60)")
    parser.add_argument("--http-seconds", type=float, help="windows over HTTP (20)")
    parser.add_argument("--rate", type=int, help="jobs per second of the open loop (10000)")
    parser.add_argument("--callers", type=int, help="callers of the closed loops (2000)")
    parser.add_argument("--ahead", type=int, help="jobs submitted and not ended, at most (4000)")
    parser.add_argument("--workers", type=int, help="worker processes (1)")
    parser.add_argument("--rows", type=int, help="rows loaded beforehand (1000000)")
    parser.add_argument("--http-clients", type=int, help="connections of single submits (64)")
    parser.add_argument("--http-users", type=int, help="users, each with a key (1000)")
    parser.add_argument("--is-one-process", action="store_true", default=None, help=_ONE)
    given = vars(parser.parse_args())
    names, is_quick = given.pop("only").split(","), given.pop("quick")
    if unknown := [name for name in names if name not in FIGURES]:
        parser.error(f"there is no figure {unknown[0]!r}")
    options = Options()
    if is_quick:
        window = {"seconds": _QUICK_S, "open_seconds": _QUICK_S, "http_seconds": _QUICK_S}
        options = replace(options, rows=_QUICK_ROWS, **window)  # type: ignore[arg-type]
    options = replace(options, **{name: v for name, v in given.items() if v is not None})
    found = run([name for name in FIGURES if name in names], options)
    print(json.dumps(found | ({"is_quick": True} if is_quick else {})))
    if "failed" in found:
        sys.exit(1)


_ONE = "serve HTTP and work in one process, as `uaol up` does, not in two"

if __name__ == "__main__":
    main()
