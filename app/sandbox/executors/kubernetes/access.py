"""How the cluster is reached: the `kubernetes` client reads kubeconfigs and service accounts.

Only its configuration is used: contexts, certificates, exec plugins, OIDC and tokens that are
renewed. The wire itself is `api.py`'s, since a watch and an attach are streams, and the client's
would take a thread for each sandbox.
"""

import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]

from yaml import YAMLError

from app.sandbox.types import IsolationError

_INSTALL = "pip install 'uaol[kubernetes]'."
_CONFIGURE = "Set KUBECONFIG, or run the server in the cluster with a service account."


@dataclass(frozen=True)
class Access:
    """A cluster's address and how to be let in.

    `authorization` gives the header's value, or None; it may run a plugin, so it blocks.
    """

    host: str
    tls: ssl.SSLContext | None = None
    server_name: str | None = None
    proxy: str | None = None
    authorization: Callable[[], str | None] = field(default=lambda: None, repr=False)


def load_access(context: str | None = None, *, config_file: Path | None = None) -> Access:
    """Read the kubeconfig (`KUBECONFIG`, else the usual place), or the pod's service account.

    Blocks. Raises IsolationError: the package is missing, there is no cluster, or no such context.
    """
    try:
        from kubernetes import client, config
    except ImportError as error:
        reason = "The kubernetes executor needs the package `kubernetes`, which is not installed."
        raise IsolationError(reason, _INSTALL) from error
    settings = client.Configuration()
    try:
        if _is_in_cluster() and context is None and config_file is None:
            config.load_incluster_config(client_configuration=settings)
        else:
            place = None if config_file is None else str(config_file)
            config.load_kube_config(place, context, client_configuration=settings)
        return _access(settings)
    except (config.ConfigException, OSError) as error:
        raise IsolationError(f"The cluster cannot be reached: {error}", _CONFIGURE) from error
    except (ValueError, TypeError, KeyError, AttributeError, YAMLError) as error:
        # its text may quote the file, secrets and all
        raise IsolationError("The kubeconfig is malformed.", _CONFIGURE) from error


def _is_in_cluster() -> bool:
    return "KUBERNETES_SERVICE_HOST" in os.environ and "KUBECONFIG" not in os.environ


def _access(settings: Any) -> Access:
    return Access(
        host=settings.host.rstrip("/"),
        tls=_tls(settings) if settings.host.startswith("https") else None,
        server_name=settings.tls_server_name,
        proxy=_proxy(settings),
        authorization=lambda: _authorization(settings),
    )


def _proxy(settings: Any) -> str | None:
    """The kubeconfig's `proxy-url`, or the environment's unless it makes an exception."""
    place = urlsplit(settings.host).netloc
    is_spared = bool(settings.no_proxy) and proxy_bypass_environment(
        place, {"no": settings.no_proxy}
    )
    return None if is_spared else settings.proxy


def _tls(settings: Any) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=settings.ssl_ca_cert)
    # Certificates of many clusters lack what RFC 5280 asks; the chain is checked all the same.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if settings.cert_file:
        context.load_cert_chain(settings.cert_file, settings.key_file)
    if not settings.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _authorization(settings: Any) -> str | None:
    for entry in settings.auth_settings().values():
        if entry.get("value"):
            return str(entry["value"])
    return None
