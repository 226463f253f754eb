"""Why a call was refused, in the words the code inside reads, and what is noted of it.

Clients show of a refused CONNECT little more than the status line, so that tells it all; the
body is for programs. Every text here is ASCII, and names only hosts that were checked.
"""

import json
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from app.sandbox.types import EgressCall

MAX_ROWS = 100
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
# A TLS record with a fatal alert, access_denied (RFC 8446, section 6).
TLS_DENIED = b"\x15\x03\x03\x00\x02\x02\x31"

# Of each code the HTTP status, whether the way out failed rather than refused, and what to do.
_CODES: dict[str, tuple[HTTPStatus, bool, str]] = {
    "malformed": (HTTPStatus.BAD_REQUEST, False, "Use an ordinary HTTP client with this proxy."),
    "too_slow": (HTTPStatus.REQUEST_TIMEOUT, False, "Send the request at once."),
    "host_mismatch": (HTTPStatus.FORBIDDEN, False, "Name the same host everywhere."),
    "address": (HTTPStatus.FORBIDDEN, False, "Use the host's name, not its address."),
    "host_not_allowed": (HTTPStatus.FORBIDDEN, False, "Use one of the allowed hosts."),
    "port_not_allowed": (HTTPStatus.FORBIDDEN, False, "Use one of the host's allowed ports."),
    "address_not_public": (HTTPStatus.FORBIDDEN, False, "Tell the operator: the name is wrong."),
    "not_tls": (HTTPStatus.FORBIDDEN, False, "Speak TLS through CONNECT."),
    "name_mismatch": (HTTPStatus.FORBIDDEN, False, "Let TLS name the host of the CONNECT."),
    "hidden_name": (HTTPStatus.FORBIDDEN, False, "Switch encrypted ClientHello off."),
    "too_many_connections": (HTTPStatus.TOO_MANY_REQUESTS, False, "Close connections first."),
    "no_address": (HTTPStatus.BAD_GATEWAY, True, "Check the name, or try again later."),
    "unreachable": (HTTPStatus.BAD_GATEWAY, True, "Try again later."),
    "bad_answer": (HTTPStatus.BAD_GATEWAY, True, "Try again later, or use https."),
    "upstream_timeout": (HTTPStatus.GATEWAY_TIMEOUT, True, "Try again later."),
}


class RefusedError(Exception):
    """A call goes no further; `code` is stable, `why` a sentence in ASCII for people.

    `host` and `port` say where it wanted to go, where nothing else does.
    """

    def __init__(self, code: str, why: str, host: str = "", port: int = 0) -> None:
        super().__init__(why)
        self.host, self.port = host[:253], port
        self.code = code
        self.why = why

    @property
    def is_failure(self) -> bool:
        """Whether the rules would have let it through."""
        return _CODES[self.code][1]


def refusal(error: RefusedError, host: str, port: int, allowed: Iterable[str]) -> bytes:
    """The HTTP answer to a call that goes no further; `allowed` are the policy's hosts."""
    status, _, hint = _CODES[error.code]
    body: dict[str, Any] = {"code": error.code, "host": host, "port": port, "reason": error.why}
    body["hint"] = hint
    if error.code in ("host_not_allowed", "port_not_allowed", "address"):
        body["allowed"] = sorted(allowed)[:100]
    data = json.dumps(body).encode()
    head = (
        f"HTTP/1.1 {status.value} {error.why}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(data)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode("ascii", "replace") + data


def egress_summary(calls: Iterable[EgressCall]) -> list[dict[str, Any]]:
    """The calls of a task summed by host, port, verdict and reason: the form of the trace.

    At most `MAX_ROWS` rows, of those hosts that were called first.
    """
    sums: dict[tuple[str, int, str, str], dict[str, Any]] = {}
    for call in calls:
        key = (call.host, call.port, call.verdict, call.reason)
        row = sums.setdefault(
            key,
            {
                "host": call.host, "port": call.port, "verdict": call.verdict,
                "reason": call.reason, "calls": 0, "bytes_up": 0, "bytes_down": 0, "ms": 0,
            },
        )  # fmt: skip
        row["calls"] += 1
        row["bytes_up"] += call.bytes_up
        row["bytes_down"] += call.bytes_down
        row["ms"] += call.ms
    return list(sums.values())[:MAX_ROWS]
