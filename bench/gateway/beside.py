"""The product beside bare proxies, round by round, against the same upstream."""

import re
import urllib.request
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bench.figures import tell
from bench.gateway.load import Order
from bench.gateway.stage import Options, best, legacy, listing, load, modern, started

_TOOL = "echo.echo"
_FEW, _MANY = 10, 500
Found = dict[str, Any]


def rounds(orders: Mapping[str, Order], options: Options) -> dict[str, Mapping[str, Any]]:
    """The best round of each, taken in turn so that all meet the same machine."""
    found: dict[str, list[Mapping[str, Any]]] = {name: [] for name in orders}
    for _ in range(options.rounds):
        for name, order in orders.items():
            one = load(replace(order, seconds=options.seconds))
            tell(f"  {name}: {one['calls_per_s']:.0f}/s, p95 {one['p95_ms']} ms, {one['cpu_us']}")
            found[name].append(one)
    return {name: best(each) for name, each in found.items()}


def echo(options: Options, _before: Mapping[str, Any]) -> Found:
    """Modern calls of an echo on the SDK, one at a time and 32 at a time."""
    found: Found = {}
    with (
        started("bench.gateway.upstreams", "echo") as upstream,
        started("bench.gateway.floors", "fastapi", upstream.url) as fastapi,
        started("bench.gateway.product", upstream.url) as ours,
    ):
        key = ours.facts["key"]
        for clients in (1, 32):
            mine = modern(ours.port, _TOOL, key=key, clients=clients)
            seen = rounds(
                {
                    "direct": modern(upstream.port, "echo", clients=clients),
                    "fastapi": modern(fastapi.port, "echo", clients=clients),
                    "ours": replace(mine, pids={"gateway": ours.pid}),
                },
                options,
            )
            found |= _figures(seen, clients)
        found["cache_hit_ratio"] = _hit_ratio(ours.port)
    return found


def _hit_ratio(port: int) -> float:
    """Registry look-ups that memory answered, of all, as the gateway's own metrics have it."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    found = re.search(r'cache_hit_ratio\{cache="registry"\} (\S+)', text)
    if found is None:
        raise RuntimeError("the gateway tells no cache_hit_ratio")
    return float(found[1])


def _figures(seen: Mapping[str, Mapping[str, Any]], clients: int) -> Found:
    ours, floor, direct = seen["ours"], seen["fastapi"], seen["direct"]
    found: Found = {
        f"ratio_fastapi_aiohttp_c{clients}": ours["calls_per_s"] / floor["calls_per_s"],
        f"calls_per_s_c{clients}": ours["calls_per_s"],
        f"p95_ms_c{clients}": ours["p95_ms"],
        f"direct_per_s_c{clients}": direct["calls_per_s"],
        f"fastapi_aiohttp_per_s_c{clients}": floor["calls_per_s"],
    }
    if clients == 1:
        found["added_p95_ms_c1"] = ours["p95_ms"] - direct["p95_ms"]
        return found
    return found | {"cpu_us_per_call": ours["cpu_us"]["gateway"]}


def floor(options: Options, _before: Mapping[str, Any]) -> Found:
    """Beside a pure-ASGI byte proxy, with an upstream that costs next to nothing."""
    with (
        started("bench.gateway.upstreams", "null") as upstream,
        started("bench.gateway.floors", "asgi", upstream.url) as asgi,
        started("bench.gateway.product", upstream.url) as ours,
    ):
        mine = modern(ours.port, _TOOL, key=ours.facts["key"], clients=32)
        theirs = modern(asgi.port, "echo", clients=32)
        seen = rounds(
            {
                "asgi": replace(theirs, pids={"gateway": asgi.pid}),
                "ours": replace(mine, pids={"gateway": ours.pid}),
            },
            options,
        )
    return {
        "ratio_asgi_floor_null_c32": seen["ours"]["calls_per_s"] / seen["asgi"]["calls_per_s"],
        "null_per_s_c32": seen["ours"]["calls_per_s"],
        "asgi_floor_null_per_s_c32": seen["asgi"]["calls_per_s"],
        "cpu_us_per_call_null": seen["ours"]["cpu_us"]["gateway"],
        "cpu_us_asgi_floor_null": seen["asgi"]["cpu_us"]["gateway"],
    }


def legacy_era(options: Options, _before: Mapping[str, Any]) -> Found:
    """Older clients, with a session each, beside the same without a gateway."""
    with (
        started("bench.gateway.upstreams", "echo") as upstream,
        started("bench.gateway.product", upstream.url) as ours,
    ):
        seen = rounds(
            {
                "direct": legacy(upstream.port, "echo", clients=32),
                "ours": legacy(ours.port, _TOOL, key=ours.facts["key"], clients=32),
            },
            options,
        )
    direct, mine = seen["direct"]["calls_per_s"], seen["ours"]["calls_per_s"]
    return {
        "legacy_ratio_c32": mine / direct,
        "legacy_per_s_c32": mine,
        "legacy_direct_per_s_c32": direct,
    }


def tools(options: Options, _before: Mapping[str, Any]) -> Found:
    """With 500 tools registered instead of 10, and a list of all of them."""
    with (
        started("bench.gateway.upstreams", "echo", "--tools", str(_FEW)) as small,
        started("bench.gateway.upstreams", "echo", "--tools", str(_MANY)) as large,
        started("bench.gateway.product", small.url) as few,
        started("bench.gateway.product", large.url) as many,
    ):
        seen = rounds(
            {
                "few": modern(few.port, _TOOL, key=few.facts["key"], clients=32),
                "many": modern(many.port, _TOOL, key=many.facts["key"], clients=32),
                "list": listing(many.port, key=many.facts["key"]),
            },
            options,
        )
    return {
        "ratio_500_tools": seen["many"]["calls_per_s"] / seen["few"]["calls_per_s"],
        "list_p95_ms": seen["list"]["p95_ms"],
    }
