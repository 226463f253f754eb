"""For which Python and system a layer is: asked of the sandbox itself, not guessed by the host."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from packaging.tags import Tag, compatible_tags, cpython_tags

from app.sandbox.layers.refusals import failed
from app.sandbox.types import Limits, TaskResult, TaskSpec

Run = Callable[[TaskSpec], Awaitable[TaskResult]]

_ID = "layer-probe"
_CODE = """
import json, os, sys
try:
    libc = os.confstr("CS_GNU_LIBC_VERSION") or ""
except (ValueError, OSError):
    libc = ""
print(json.dumps([sys.implementation.name, *sys.version_info[:2], os.uname().machine, libc]))
"""
_LIMITS = Limits(wall_s=30, cpu_s=10, processes=8, memory_bytes=2**30, tmp_bytes=2**20)
# The platforms the resolver knows, as minor versions of glibc 2.
_KNOWN = (17, 28, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40)
_LEGACY = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}


@dataclass(frozen=True)
class Target:
    """CPython 3.`minor` on a Linux with glibc 2.`glibc`."""

    minor: int
    machine: str
    glibc: int

    @property
    def python(self) -> str:
        """As in `3.11`."""
        return f"3.{self.minor}"

    @property
    def platform(self) -> str:
        """The newest platform of the resolver's that this one can stand for."""
        glibc = max((one for one in _KNOWN if one <= self.glibc), default=_KNOWN[0])
        return f"{self.machine}-manylinux_2_{glibc}"

    def tags(self) -> dict[Tag, int]:
        """Every wheel tag that fits, with its rank; the lowest is the best (PEP 425, 600)."""
        version = (3, self.minor)
        platforms = [*self._manylinux(), f"linux_{self.machine}"]
        own = cpython_tags(version, [f"cp3{self.minor}"], platforms)
        found = [*own, *compatible_tags(version, f"cp3{self.minor}", platforms)]
        return {tag: rank for rank, tag in reversed(list(enumerate(found)))}

    def _manylinux(self) -> list[str]:
        names = []
        for glibc in range(self.glibc, 4, -1):
            names.append(f"manylinux_2_{glibc}_{self.machine}")
            if legacy := _LEGACY.get(glibc):
                names.append(f"{legacy}_{self.machine}")
        return names


async def probe(run: Run) -> Target:
    """Ask the sandbox. Raises AppError(SANDBOX_FAILED) where layers cannot be made for it."""
    result = await run(TaskSpec(_ID, _CODE, limits=_LIMITS))
    try:
        implementation, major, minor, machine, libc = json.loads(result.stdout)
        kind, _, version = libc.partition(" ")
        glibc = tuple(int(part) for part in version.split(".")[:2])
    except (ValueError, TypeError, AttributeError) as error:
        raise failed(f"the sandbox did not say what it is ({result.status})") from error
    if (implementation, major, kind, glibc[:1]) != ("cpython", 3, "glibc", (2,)):
        raise failed("the sandbox's Python is not CPython 3 on glibc")
    if machine not in ("x86_64", "aarch64"):
        raise failed(f"packages for {machine!a} are not supported")
    return Target(int(minor), machine, glibc[1])
