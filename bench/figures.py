"""Runs the figures of a bench one after the other; the last line is one JSON object.

A figure that cannot be measured is in `failed` with the reason, and the exit code is 1.
"""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

# From what was asked for, and the figures found so far: keys and values.
Figure = Callable[[Any, Mapping[str, Any]], dict[str, Any]]


def parser(
    program: str, figures: Mapping[str, Figure], about: str | None
) -> argparse.ArgumentParser:
    """A parser with `--only`; what a bench adds must be named like a field of its options."""
    made = argparse.ArgumentParser(prog=f"python -m {program}", description=about)
    made.add_argument("--only", default=",".join(figures), help="of: %(default)s")
    return made


def main(made: argparse.ArgumentParser, figures: Mapping[str, Figure], default: Any) -> None:
    """Parse, run, print; `preset` among the arguments takes the place of the default options."""
    given = vars(made.parse_args())
    names = given.pop("only").split(",")
    if unknown := [name for name in names if name not in figures]:
        made.error(f"there is no figure {unknown[0]!r}")
    start = given.pop("preset", None) or default
    options = replace(start, **{name: v for name, v in given.items() if v is not None})
    found = _run({name: one for name, one in figures.items() if name in names}, options)
    print(json.dumps(found))
    if "failed" in found:
        sys.exit(1)


def _run(figures: Mapping[str, Figure], options: Any) -> dict[str, Any]:
    """All figures, in one flat object after when, where and with what they were measured."""
    found: dict[str, Any] = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "kernel": platform.release(),
        "cores": os.cpu_count(),
        "options": asdict(options),
    }
    failed: dict[str, str] = {}
    for name, figure in figures.items():
        tell(f"{name} ...")
        began = time.monotonic()
        try:
            part = figure(options, found)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the others are still worth it
            failed[name] = _told(error)
            tell(f"{name} failed: {failed[name]}")
            continue
        found |= {key: _rounded(value) for key, value in part.items()}
        tell(f"{name} took {time.monotonic() - began:.0f} s: {json.dumps(part)}")
    return found | ({"failed": failed} if failed else {})


def tell(text: str) -> None:
    """Progress, on standard error."""
    print(text, file=sys.stderr, flush=True)


def _told(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


def _rounded(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value
