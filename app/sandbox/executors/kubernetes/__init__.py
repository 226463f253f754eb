"""Kubernetes: every sandbox is the pod of a Job, spoken to over the attach WebSocket.

It is never chosen by `auto`, only by name. What the cluster must provide is applied from
`sandbox/kubernetes/`; what it does not provide is refused at the start, not found out later.
"""

from app.sandbox.executors.kubernetes.backend import KubernetesBackend
from app.sandbox.executors.kubernetes.site import Site, site_of

__all__ = ["KubernetesBackend", "Site", "site_of"]
