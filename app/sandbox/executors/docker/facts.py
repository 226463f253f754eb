"""What the backend knows of the engine and of the image, asked once and held against our needs."""

import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.sandbox.executors.levels import level_of
from app.sandbox.types import IsolationError
from sandbox.image import tools_key

TOOLS = "/opt/uaol"
FACTS_FILE = f"{TOOLS}/image.json"
_MAX_FACTS_BYTES = 2**20
_KERNEL_PROCESSES = 1024
BUILD_HINT = (
    "Build it: `python -m sandbox.image` as root on Debian, or `docker build` with "
    "sandbox/Dockerfile, whose first lines say how."
)


@dataclass(frozen=True)
class ImageFacts:
    """The image as it says itself: where its Python is, and what that can import."""

    id: str
    python: str
    interpreter: str
    prefix: str
    sites: tuple[str, ...]
    distributions: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True)
class EngineFacts:
    """The runtime that will be used, the level of its walls, and limits it does not enforce.

    `spare_processes` are what the runtime's own kernel needs of the host's: to run out of those
    would end it, so with such a runtime the number of processes is bounded, but not exactly.
    """

    runtime: str
    level: str
    best_effort: tuple[str, ...]
    spare_processes: int = 0


def read_image(name: str, image_id: str, archive: bytes) -> ImageFacts:
    """The facts in an image's own file, which comes as a tar of one member.

    Raises IsolationError if the image is none of ours, or was built for another version of us.
    """
    try:
        told = json.loads(_only_member(archive))
        tools = str(told["tools"])
        facts = ImageFacts(
            image_id, told["python"], told["interpreter"], told["prefix"],
            tuple(told["sites"]), dict(told["distributions"]),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, tarfile.TarError) as error:
        raise IsolationError(f"The image {name} is not a sandbox image.", BUILD_HINT) from error
    if tools != tools_key():
        reason = f"The image {name} was built for another version of this server."
        raise IsolationError(reason, BUILD_HINT)
    return facts


def read_engine(info: Mapping[str, Any], runtime: str) -> EngineFacts:
    """What `GET /info` says. Raises IsolationError where a wall would be missing."""
    if info.get("OSType") != "linux":
        raise IsolationError("The engine does not run Linux containers.", "Use one that does.")
    if not any("name=seccomp" in option for option in info.get("SecurityOptions") or ()):
        hint = "Use an engine and a kernel with seccomp."
        raise IsolationError("The engine cannot filter system calls.", hint)
    if not info.get("PidsLimit"):
        hint = "Give the engine the pids cgroup controller, or use the bubblewrap executor."
        raise IsolationError("The engine cannot limit the number of processes.", hint)
    known = info.get("Runtimes") or {}
    chosen = runtime or str(info.get("DefaultRuntime") or "runc")
    if chosen not in known:
        hint = f"Set UAOL_SANDBOX_RUNTIME to one of: {', '.join(sorted(known))}."
        raise IsolationError(f"The engine has no runtime named {chosen!r}.", hint)
    lacking = {"total memory": "MemoryLimit", "swap": "SwapLimit", "cpu share": "CpuCfsQuota"}
    best_effort = tuple(name for name, flag in lacking.items() if not info.get(flag))
    level = level_of(chosen)
    if level == "container":
        return EngineFacts(chosen, level, best_effort)
    return EngineFacts(chosen, level, ("processes", *best_effort), _KERNEL_PROCESSES)


def _only_member(archive: bytes) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        member = tar.next()
        content = tar.extractfile(member) if member else None
        if content is None:
            raise ValueError("no regular file")
        return content.read(_MAX_FACTS_BYTES)
