"""What the suite starts for each scenario: passes the request on to the tests' own process.

    python -I -S ask.py SOCKET URL

The suite wants a command for each of some fifty scenarios. Loading the platform takes seconds, so
it is loaded once, and this only says which scenario it is, and ends as it is told to.
"""

import json
import os
import socket
import sys

_PREFIX = "MCP_CONFORMANCE_"


def main(address: str, url: str) -> int:
    """Ask, show what was said, and give the exit code."""
    given = {key: value for key, value in os.environ.items() if key.startswith(_PREFIX)}
    request = {
        "url": url,
        "scenario": given.get(f"{_PREFIX}SCENARIO", ""),
        "version": given.get(f"{_PREFIX}PROTOCOL_VERSION", ""),
        "context": json.loads(given.get(f"{_PREFIX}CONTEXT") or "{}"),
    }
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        connection.sendall(json.dumps(request).encode() + b"\n")
        with connection.makefile() as answered:
            answer = json.loads(answered.readline())
    sys.stderr.write(answer["said"])
    return int(answer["code"])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
