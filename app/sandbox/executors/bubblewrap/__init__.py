"""Sandboxes made of Linux namespaces by bubblewrap: no daemon, no privileges."""

from app.sandbox.executors.bubblewrap.backend import BubblewrapBackend, bubblewrap_backends
from app.sandbox.executors.bubblewrap.cold import BubblewrapExecutor, bubblewrap_executors

__all__ = [
    "BubblewrapBackend",
    "BubblewrapExecutor",
    "bubblewrap_backends",
    "bubblewrap_executors",
]
