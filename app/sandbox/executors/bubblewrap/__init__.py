"""Sandboxes made of Linux namespaces by bubblewrap: no daemon, no privileges."""

from app.sandbox.executors.bubblewrap.backend import BubblewrapBackend, bubblewrap_backends

__all__ = ["BubblewrapBackend", "bubblewrap_backends"]
