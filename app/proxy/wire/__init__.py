"""The wire: remote tool servers of both eras over one guarded pool of connections."""

from app.proxy.wire.envelope import Parts, cut
from app.proxy.wire.envelope import join as join_params
from app.proxy.wire.envelope import notification as make_notification
from app.proxy.wire.envelope import request as make_request
from app.proxy.wire.envelope import response as make_response
from app.proxy.wire.envelope import split as split_params
from app.proxy.wire.faults import RefusedRequestError, SessionLostError, UnreachableError
from app.proxy.wire.relay import Relay, Reply
from app.proxy.wire.service import HttpWire
from app.proxy.wire.sse import Event
from app.proxy.wire.types import Answer, Era, OnMessage, Target, Wire

__all__ = [
    "Answer",
    "Era",
    "Event",
    "HttpWire",
    "OnMessage",
    "Parts",
    "RefusedRequestError",
    "Relay",
    "Reply",
    "SessionLostError",
    "Target",
    "UnreachableError",
    "Wire",
    "cut",
    "join_params",
    "make_notification",
    "make_request",
    "make_response",
    "split_params",
]
