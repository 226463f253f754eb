"""A server over stdio that remembers: every call counts up what this process was told."""

import json
import os
import sys
from typing import Any

HELLO = {
    "protocolVersion": "2025-06-18",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "counting", "version": "1"},
}
TOOL = {"name": "count", "description": "Counts.", "inputSchema": {"type": "object"}}
count = 0


def answer(method: str) -> dict[str, Any] | None:
    global count
    if method == "initialize":
        return HELLO
    if method == "tools/list":
        return {"tools": [TOOL]}
    if method == "tools/call":
        count += 1
        told = {"count": count, "pid": os.getpid()}
        return {"content": [], "structuredContent": told}
    return None


for line in sys.stdin:
    request = json.loads(line)
    if "id" not in request:
        continue
    message: dict[str, Any] = {"jsonrpc": "2.0", "id": request["id"]}
    result = answer(request["method"])
    if result is None:
        message["error"] = {"code": -32601, "message": "Method not found"}
    else:
        message["result"] = result
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()
