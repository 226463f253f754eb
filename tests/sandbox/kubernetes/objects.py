"""What the pretended cluster says: objects of the API, and faults in place of answers."""

import re
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Object = dict[str, Any]

NAMESPACE = "uaol-sandbox"


@dataclass
class Fault:
    """An answer given instead of the true one, `times` over. A `status` of 0 hangs up, of -2
    waits for the cluster's `hold` and then does what was asked.
    """

    method: str
    path: str
    status: int
    reason: str = "InternalError"
    message: str = "so it was scripted"
    headers: dict[str, str] = field(default_factory=dict)
    times: int = 1
    # whether the request is carried out before the answer is lost
    is_done: bool = False

    def fits(self, request: web.Request) -> bool:
        """Whether it is this request's turn."""
        is_match = request.method == self.method and re.search(self.path, request.path)
        return bool(is_match) and self.times > 0


def closed_policy() -> Object:
    """The policy of sandbox/kubernetes."""
    spec = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    return {"metadata": {"name": "closed"}, "spec": spec}


def status(code: int, reason: str, message: str) -> Object:
    """A Status object of the API."""
    return {
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
        "reason": reason, "message": message,
    }  # fmt: skip
