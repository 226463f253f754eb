"""What goes along with a call to a remote server: its callers' secrets and tokens."""

from app.proxy.credentials.origins import origin_of
from app.proxy.credentials.service import ServerCredentials
from app.proxy.credentials.types import (
    NO_INJECTION,
    AccessToken,
    Credentials,
    FindServer,
    Injection,
    RemoteServer,
    SecretSource,
    TokenSource,
    UpstreamRefusedError,
)

__all__ = [
    "NO_INJECTION",
    "AccessToken",
    "Credentials",
    "FindServer",
    "Injection",
    "RemoteServer",
    "SecretSource",
    "ServerCredentials",
    "TokenSource",
    "UpstreamRefusedError",
    "origin_of",
]
