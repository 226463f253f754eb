"""What the gateway costs and holds, beside bare proxies and the gateways of others."""

from collections.abc import Mapping

from bench.figures import Figure, main, parser
from bench.gateway import beside, crowd, others
from bench.gateway.stage import Options

FIGURES: Mapping[str, Figure] = {
    "echo": beside.echo,
    "floor": beside.floor,
    "legacy": beside.legacy_era,
    "tools": beside.tools,
    "fastmcp": others.fastmcp,
    "contextforge": others.contextforge,
    "crowd": crowd.crowd,
}

if __name__ == "__main__":
    asked = parser("bench.gateway", FIGURES, __doc__)
    asked.add_argument("--seconds", type=float, help="window of one round (3)")
    asked.add_argument("--rounds", type=int, help="rounds, of which the best counts (3)")
    asked.add_argument("--idle", type=int, help="clients that only listen (10000)")
    asked.add_argument("--active", type=int, help="clients that call meanwhile (200)")
    main(asked, FIGURES, Options())
