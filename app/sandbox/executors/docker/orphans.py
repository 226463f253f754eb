"""Whose a container is: labels that tell the live processes' containers from those left behind.

A server that dies takes its sandboxes along, since the runner ends with its wire. What may be left
are stopped containers, and running ones where the engine died as well. Several processes share an
engine, so only what belongs to a dead process of this machine may go.
"""

import hashlib
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.sandbox.executors.processes import is_alive, process_id

HOST_LABEL = "uaol.sandbox"
PROCESS_LABEL = "uaol.sandbox.process"
_MACHINE_ID = Path("/etc/machine-id")


def host_id() -> str:
    """A short name of this machine that tells nothing about it."""
    try:
        name = _MACHINE_ID.read_text(encoding="ascii").strip() or platform.node()
    except OSError:
        name = platform.node()
    return hashlib.sha256(f"uaol {name}".encode()).hexdigest()[:16]


def labels() -> dict[str, str]:
    """The labels of a container that this process starts."""
    return {HOST_LABEL: host_id(), PROCESS_LABEL: process_id()}


def is_orphan(container: Mapping[str, Any]) -> bool:
    """Whether nobody will ever end this container, an entry of `GET /containers/json`.

    Of a process that cannot be seen from here, only what has stopped is taken.
    """
    owner = str((container.get("Labels") or {}).get(PROCESS_LABEL, ""))
    lives = is_alive(owner)
    if lives is None:
        return container.get("State") in ("exited", "dead")
    return not lives
