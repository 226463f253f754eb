"""Connections of users with servers that have OAuth of their own."""

from app.proxy.oauth.connections import OAuthConnections
from app.proxy.oauth.flows import LIFETIME_S, OAuthFlows
from app.proxy.oauth.registration import metadata_document
from app.proxy.oauth.types import Connection, Consent, Identity
from app.proxy.oauth.web import Web

__all__ = [
    "LIFETIME_S",
    "Connection",
    "Consent",
    "Identity",
    "OAuthConnections",
    "OAuthFlows",
    "Web",
    "metadata_document",
]
