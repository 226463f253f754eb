"""A server of protocol 2025-06-18, without the SDK: it knows no discovery and announces unasked."""

import json
import os
import sys
from pathlib import Path
from typing import Any

CAPABILITIES = {"tools": {"listChanged": True}}
HELLO = {
    "protocolVersion": "2025-06-18",
    "capabilities": CAPABILITIES,
    "serverInfo": {"name": "legacy", "version": "1"},
}


def send(**message: Any) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0"} | message) + "\n")
    sys.stdout.flush()


def answer(method: str, params: dict[str, Any]) -> dict[str, Any] | None:
    if method == "initialize":
        return HELLO
    if method == "tools/list":
        text = Path(os.environ["DESCRIPTION"]).read_text()
        tool = {"name": "run", "description": text, "inputSchema": {"type": "object"}}
        return {"tools": [tool]}
    if method == "tools/call":
        if params.get("arguments", {}).get("announce"):
            send(method="notifications/tools/list_changed")
        return {"content": [{"type": "text", "text": "ran"}]}
    return None


for line in sys.stdin:
    request = json.loads(line)
    if "id" not in request:
        continue
    result = answer(request["method"], request.get("params", {}))
    if result is None:
        send(id=request["id"], error={"code": -32601, "message": "Method not found"})
    else:
        send(id=request["id"], result=result)
