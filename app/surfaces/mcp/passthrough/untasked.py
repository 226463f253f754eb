"""Tasks of a server's own are not passed through.

What a task gives is fetched by other requests than the call, in any session and at any time: it
could not be told whose it is, nor be charged. So a server is not told that its caller knows tasks,
and its caller not that the server has them.
"""

import json
from collections.abc import Mapping
from typing import Any

import orjson

from app.surfaces.mcp.longtasks import untold

METHODS = "tasks/"
_CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"


def plain_call(values: Mapping[str, bytes], params: Mapping[str, Any]) -> dict[str, bytes]:
    """The params of a call, raw by name, as one that wants its answer at once."""
    rest = {name: value for name, value in values.items() if name != "task"}
    meta = params.get("_meta")
    if isinstance(meta, Mapping) and isinstance(declared := meta.get(_CAPABILITIES), Mapping):
        rest["_meta"] = orjson.dumps({**meta, _CAPABILITIES: untold(declared)})
    return rest


def greeting(message: bytes) -> bytes:
    """The answer to a handshake or discovery; anything else as it is."""
    try:
        answer = json.loads(message)
        answer["result"]["capabilities"] = untold(answer["result"]["capabilities"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return message
    return json.dumps(answer, separators=(",", ":"), ensure_ascii=False).encode()
