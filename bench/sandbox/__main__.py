"""What a run in a sandbox takes, cold and warm, alone and many at once, beside bare Python."""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import uvloop

from bench.figures import Figure, main, parser
from bench.sandbox import crowd, engine, local, overmcp
from bench.sandbox.stage import Options


def _alone(
    figure: Callable[[Options, Mapping[str, Any]], Coroutine[Any, Any, dict[str, Any]]],
) -> Figure:
    """The figure in an event loop of its own."""
    return lambda options, before: uvloop.run(figure(options, before))


# The ratios come after what they are ratios to.
FIGURES: Mapping[str, Figure] = {
    "bubblewrap": _alone(local.bubblewrap),
    "docker": _alone(engine.docker),
    "llm_sandbox": _alone(engine.llm_sandbox),
    "mcp": _alone(overmcp.over_mcp),
    "overshoot": _alone(local.overshoot),
    "burst": _alone(crowd.burst),
    "docker_burst": _alone(crowd.docker_burst),
    "refill": _alone(crowd.refill),
    "docker_refill": _alone(crowd.docker_refill),
}

if __name__ == "__main__":
    asked = parser("bench.sandbox", FIGURES, __doc__)
    asked.add_argument("--runs", type=int, help="runs of each, of which the median counts (30)")
    asked.add_argument("--burst", type=int, help="tasks at once (100)")
    asked.add_argument("--pause", type=float, help="seconds of rest before a call over MCP (0.1)")
    main(asked, FIGURES, Options())
