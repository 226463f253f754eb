"""Egress: the one way out of a sandbox, a proxy that knows each task by the socket it came in."""

from app.sandbox.egress.answers import egress_summary
from app.sandbox.egress.door import Door
from app.sandbox.egress.folders import SOCKET_NAME
from app.sandbox.egress.policies import BIO, Policy
from app.sandbox.egress.policy_file import load_policies
from app.sandbox.egress.service import Egress

__all__ = [
    "BIO",
    "SOCKET_NAME",
    "Door",
    "Egress",
    "Policy",
    "egress_summary",
    "load_policies",
]
