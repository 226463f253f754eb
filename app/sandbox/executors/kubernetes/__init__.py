"""Kubernetes: every sandbox is the pod of a Job, spoken to over the attach WebSocket.

It is never chosen by `auto`, only by name. What the cluster must provide is applied from
`sandbox/kubernetes/`; what it does not provide is refused at the start, not found out later.
"""

from app.kernel.errors import AppError, Code
from app.sandbox.executors.kubernetes.site import Site, site_of
from app.sandbox.links import Backend

__all__ = ["Site", "kubernetes_backend", "site_of"]


def kubernetes_backend(site: Site) -> Backend:
    """The backend, whose packages only those install who want it.

    Raises AppError(CONFIG_INVALID) where they are missing.
    """
    try:
        from app.sandbox.executors.kubernetes.backend import KubernetesBackend
    except ModuleNotFoundError as error:
        raise AppError(
            Code.CONFIG_INVALID,
            f"The kubernetes executor needs the package `{error.name}`, which is not installed.",
            hint="pip install 'uaol[kubernetes]'.",
        ) from error
    return KubernetesBackend(site)
